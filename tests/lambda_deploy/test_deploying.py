"""Deploying makes what is missing, repairs what differs, refuses what is not ours, and can be repeated."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment import (
    DesiredDeployment,
    deploy,
    describe,
    health,
    look_around,
    look_for,
    plan_deployment,
    plan_removal,
    require_deployed,
    undeploy,
)
from cloudbutton_backend.backends.aws_lambda.deployment.desired import as_json
from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults, Emulator
from cloudbutton_backend.backends.aws_lambda.resource_names import TAG, DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python
from cloudbutton_backend.errors import (
    CloudServiceError,
    DeploymentRefused,
    NotDeployed,
    NotPermitted,
)


class Interrupted(Exception):
    """The machine went to sleep, the network went away, the user pressed Ctrl-C."""


class Failing:
    """Clients whose request number `nth` that changes something is not made."""

    def __init__(self, clients: BotoClients, nth: int) -> None:
        self._clients, self._left = clients, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients, name)

    def call(self, service: str, operation: str, **rest: Any) -> dict[str, Any]:
        if not operation.startswith(("Get", "Head", "List", "Describe")):
            if self._left == 0:
                raise Interrupted
            self._left -= 1
        return self._clients.call(service, operation, **rest)


def _no_pause(seconds: float) -> None:
    """Waiting is not what is tested here, and the emulator need not be waited for."""


def _steps(clients: BotoClients, desired: DesiredDeployment) -> list[str]:
    return [
        str(step) for step in plan_deployment(desired, look_for(clients, desired.targets)).steps
    ]


def test_what_was_deployed_is_all_there_and_ours(
    clients: BotoClients, desired: DesiredDeployment
) -> None:
    found = deploy(clients, desired)
    assert found.functions.keys() == {target.function for target in desired.targets}
    assert {each.tags[TAG] for each in found.functions.values()} == {"1.2.3"}
    assert found.role is not None and found.bucket is not None and found.log_group is not None
    assert found.bucket.block is not None and all(found.bucket.block.values())
    assert {rule["Filter"]["Prefix"]: rule.get("Expiration") for rule in found.bucket.rules} == {
        "jobs/": {"Days": 7},
        "blobs/": {"Days": 30},
        "": None,
    }


def test_deploying_again_does_nothing(clients: BotoClients, desired: DesiredDeployment) -> None:
    deploy(clients, desired)
    said: list[str] = []
    deploy(clients, desired, say=said.append)
    assert said == []
    assert _steps(clients, desired) == []


def test_a_plan_changes_nothing(clients: BotoClients, desired: DesiredDeployment) -> None:
    assert len(_steps(clients, desired)) == 5
    assert look_around(clients, desired.home).is_nothing


def test_a_deployment_stopped_anywhere_is_completed_by_running_it_again(
    clients: BotoClients, home: DeploymentTarget
) -> None:
    for nth in itertools.count():
        place = home.with_(prefix=f"{home.prefix}-{nth}")
        desired = DesiredDeployment(targets=(place,), version="1.2.3")
        try:
            deploy(Failing(clients, nth), desired)  # type: ignore[arg-type]
            break
        except Interrupted:
            deploy(clients, desired)  # ends when nothing is left to do
            require_deployed(clients, place)
    assert nth == 10  # requests that change something


def test_a_removal_stopped_anywhere_is_completed_by_running_it_again(
    clients: BotoClients, home: DeploymentTarget
) -> None:
    for nth in itertools.count():
        place = home.with_(prefix=f"{home.prefix}-{nth}")
        deploy(clients, DesiredDeployment(targets=(place,), version="1.2.3"))
        try:
            undeploy(Failing(clients, nth), place)  # type: ignore[arg-type]
            break
        except Interrupted:
            undeploy(clients, place)
            assert look_around(clients, place).is_nothing
    assert nth == 5  # requests that change something


def test_removing_takes_what_is_in_the_bucket_along_and_nothing_of_others(
    clients: BotoClients, desired: DesiredDeployment
) -> None:
    deploy(clients, desired)
    other = replace(desired, targets=(desired.home.with_(prefix=f"{desired.home.prefix}x"),))
    deploy(clients, other)
    for number in range(5):
        key = f"jobs/abc/{number}"
        clients.call("s3", "PutObject", Bucket=desired.home.bucket, Key=key, Body=b"")
    clients.call("s3", "CreateMultipartUpload", Bucket=desired.home.bucket, Key="jobs/large")
    bucket = plan_removal(look_around(clients, desired.home)).steps[-1]
    assert "5 objects" in str(bucket)
    undeploy(clients, desired.home)
    assert look_around(clients, desired.home).is_nothing
    assert _steps(clients, other) == []


@pytest.fixture(scope="module")
def standing(clients: BotoClients) -> DeploymentTarget:
    """Return a deployment that tests share, each of which leaves it as it was."""
    place = DeploymentTarget(
        prefix="standing", account=clients.account, region=clients.region, python=notebook_python()
    )
    deploy(clients, DesiredDeployment(targets=(place,), version="1.2.3"))
    return place


def _other_trust(clients: BotoClients, home: DeploymentTarget) -> None:
    trust = as_json(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            },
        }
    )
    clients.call("iam", "UpdateAssumeRolePolicy", RoleName=home.role, PolicyDocument=trust)


def _wider_role(clients: BotoClients, home: DeploymentTarget) -> None:
    everything = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    )
    clients.call(
        "iam",
        "PutRolePolicy",
        RoleName=home.role,
        PolicyName="write-logs",
        PolicyDocument=everything,
    )


def _public_bucket(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("s3", "DeletePublicAccessBlock", Bucket=home.bucket)


def _nothing_expires(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("s3", "DeleteBucketLifecycle", Bucket=home.bucket)


def _logs_for_ever(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("logs", "DeleteRetentionPolicy", logGroupName=home.log_group)


def _less_time(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("lambda", "UpdateFunctionConfiguration", FunctionName=home.function, Timeout=3)


def _other_code(clients: BotoClients, home: DeploymentTarget) -> None:
    from cloudbutton_backend.backends.aws_lambda.function_archive import deterministic_zip

    archive = deterministic_zip({"handler.py": b""})
    clients.call("lambda", "UpdateFunctionCode", FunctionName=home.function, ZipFile=archive)


def _function_gone(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("lambda", "DeleteFunction", FunctionName=home.function)


@pytest.mark.parametrize(
    ("damage", "repaired"),
    [
        (_other_trust, "role"),
        (_wider_role, "role"),
        (_public_bucket, "bucket"),
        (_nothing_expires, "bucket"),
        (_logs_for_ever, "log group"),
        (_less_time, "function"),
        (_other_code, "function"),
        (_function_gone, "function"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_was_changed_by_hand_is_repaired_and_nothing_else(
    clients: BotoClients,
    standing: DeploymentTarget,
    damage: Callable[[BotoClients, DeploymentTarget], None],
    repaired: str,
) -> None:
    desired = DesiredDeployment(targets=(standing,), version="1.2.3")
    damage(clients, standing)
    (step,) = plan_deployment(desired, look_for(clients, desired.targets)).steps
    assert step.what.startswith(repaired)
    deploy(clients, desired)
    assert _steps(clients, desired) == []


def test_rules_that_the_user_has_added_to_the_bucket_stay(
    clients: BotoClients, home: DeploymentTarget
) -> None:
    desired = DesiredDeployment(targets=(home,), version="1.2.3")
    mine = {
        "ID": "mine",
        "Filter": {"Prefix": "mine/"},
        "Status": "Enabled",
        "Expiration": {"Days": 1},
    }
    deploy(clients, desired)
    clients.call(
        "s3",
        "PutBucketLifecycleConfiguration",
        Bucket=home.bucket,
        LifecycleConfiguration={"Rules": [mine]},
    )
    bucket = deploy(clients, desired).bucket
    assert bucket is not None
    assert bucket.rules[0]["ID"] == "mine"
    assert len(bucket.rules) == 4


def test_another_version_brings_all_functions_up_to_date(
    clients: BotoClients, desired: DesiredDeployment
) -> None:
    deploy(clients, desired)
    newer = replace(desired, version="2.0.0")
    assert [step.partition(":")[2] for step in _steps(clients, newer)] == [
        " version 1.2.3 → 2.0.0",
        " version 1.2.3 → 2.0.0",
    ]
    deploy(clients, newer)
    assert _steps(clients, newer) == []


def _foreign_role(clients: BotoClients, home: DeploymentTarget) -> None:
    trust = as_json(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            },
        }
    )
    clients.call("iam", "CreateRole", RoleName=home.role, AssumeRolePolicyDocument=trust)


def _foreign_bucket(clients: BotoClients, home: DeploymentTarget) -> None:
    clients.call("s3", "CreateBucket", Bucket=home.bucket)
    clients.call("s3", "PutObject", Bucket=home.bucket, Key="thesis.tex", Body=b"precious")


def _foreign_function(clients: BotoClients, home: DeploymentTarget) -> None:
    deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))
    clients.call("lambda", "UntagResource", Resource=home.function_arn, TagKeys=[TAG])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (_foreign_role, "A role"),
        (_foreign_bucket, "A bucket"),
        (_foreign_function, "A function"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_another_user_has_made_is_neither_taken_over_nor_removed(
    clients: BotoClients,
    home: DeploymentTarget,
    make: Callable[[BotoClients, DeploymentTarget], None],
    named: str,
) -> None:
    make(clients, home)
    with pytest.raises(DeploymentRefused, match=rf"{named} .* not made .*--prefix"):
        deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))
    undeploy(clients, home)
    assert not look_around(clients, home).is_nothing


def test_a_role_that_lambda_does_not_know_yet_is_waited_for(
    emulator: Emulator, clients: BotoClients, desired: DesiredDeployment
) -> None:
    emulator.set_faults(EmulatedFaults(role_not_ready=3))
    said: list[str] = []
    waited: list[float] = []
    deploy(clients, desired, say=said.append, pause=waited.append)
    assert [line for line in said if line.startswith("wait")] == [
        "wait    AWS is telling Lambda of the new role, which takes about ten seconds"
    ]
    assert waited[:3] == [1.0, 2.0, 4.0]
    assert _steps(clients, desired) == []


def test_a_role_that_lambda_never_gets_to_know_is_an_error_in_the_end(
    emulator: Emulator, clients: BotoClients, desired: DesiredDeployment
) -> None:
    emulator.set_faults(EmulatedFaults(role_not_ready=1000))
    waited: list[float] = []
    with pytest.raises(CloudServiceError, match="cannot be assumed"):
        deploy(clients, desired, pause=waited.append)
    assert 60 <= sum(waited) <= 120


def test_two_who_deploy_at_the_same_time_both_succeed(
    clients: BotoClients, desired: DesiredDeployment
) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(3)

    def run() -> None:
        try:
            barrier.wait(30)
            deploy(clients, desired, pause=_no_pause)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert _steps(clients, desired) == []


def test_a_job_is_told_what_to_type_when_nothing_is_deployed(
    clients: BotoClients, home: DeploymentTarget
) -> None:
    command = f"deploy lambda --region us-east-1 --memory 1769 --arch x86_64 --prefix {home.prefix}"
    with pytest.raises(NotDeployed, match=command):
        require_deployed(clients, home)


def test_a_function_whose_tags_may_not_be_seen_is_nobodys(
    clients: BotoClients, standing: DeploymentTarget
) -> None:
    class MaySeeNoTags(Failing):
        def call(self, service: str, operation: str, **rest: Any) -> dict[str, Any]:
            answer = self._clients.call(service, operation, **rest)
            if operation != "GetFunction":
                return answer
            # As Lambda answers who lacks lambda:ListTags.
            answer.pop("Tags", None)
            return {**answer, "TagsError": {"ErrorCode": "AccessDeniedException", "Message": ""}}

    with pytest.raises(NotPermitted, match=f"lack lambda:ListTags on {standing.function_arn}"):
        require_deployed(MaySeeNoTags(clients, 0), standing)  # type: ignore[arg-type]


def test_a_job_does_not_run_on_a_function_of_another_version(
    clients: BotoClients, home: DeploymentTarget
) -> None:
    deploy(clients, DesiredDeployment(targets=(home,), version="1.2.3"))
    _other_code(clients, home)
    with pytest.raises(NotDeployed, match=r"another version.*tag says 1\.2\.3"):
        require_deployed(clients, home)


def test_health_is_well_when_all_is_deployed(
    clients: BotoClients, standing: DeploymentTarget
) -> None:
    lines = {line.name: line for line in health(clients, standing)}
    assert list(lines) == ["credentials", "runtime", "function", "bucket", "concurrency"]
    assert all(line.ok for line in lines.values())
    assert "version 1.2.3" in lines["function"].detail


def test_health_names_what_is_missing(clients: BotoClients, home: DeploymentTarget) -> None:
    lines = {line.name: line for line in health(clients, home)}
    assert not lines["function"].ok and "Deploy it" in lines["function"].detail
    assert not lines["bucket"].ok


def test_status_tells_versions_and_what_was_changed_by_hand(
    clients: BotoClients, desired: DesiredDeployment
) -> None:
    deploy(clients, desired)
    assert describe(look_around(clients, desired.home)).is_sound
    _less_time(clients, desired.home)
    status = describe(look_around(clients, desired.home))
    assert not status.is_sound
    assert "Timeout: 3 → 900" in str(status)


def test_code_on_lambda_may_write_its_log_and_nothing_else(
    clients: BotoClients, standing: DeploymentTarget
) -> None:
    role = look_for(clients, [standing]).role
    assert role is not None and role.policy is not None
    (statement,) = role.policy["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == f"{standing.log_group_arn}:*"
