"""The policies allow what is done, all of it and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend import settings
from cloudbutton_backend.backends.aws_lambda.aws_errors import Purpose
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment import health
from cloudbutton_backend.backends.aws_lambda.deployment.desired import as_json
from cloudbutton_backend.backends.aws_lambda.deployment.policies import policy
from cloudbutton_backend.backends.aws_lambda.emulator import ApiCall, Emulator
from cloudbutton_backend.backends.aws_lambda.function_archive import deterministic_zip
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.backends.aws_lambda.runtimes import notebook_python
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session
from cloudbutton_ext.cli import main
from tests.support.iam_evaluation import actions, allows

HOME = DeploymentTarget(account="123456789012", region="us-east-1", python="3.11")

#: STS answers this one to everybody who has credentials, whatever policies say.
FREE = {"sts:GetCallerIdentity"}


def _one(effect: str, action: str, resource: str, **rest: object) -> dict[str, object]:
    return {"Effect": effect, "Action": action, "Resource": resource, **rest}


@pytest.mark.parametrize(
    ("statements", "action", "resource", "allowed"),
    [
        ([_one("Allow", "s3:GetObject", "arn:b/*")], "s3:GetObject", "arn:b/x/y", True),
        ([_one("Allow", "s3:GetObject", "arn:b/*")], "s3:getobject", "arn:b/x", True),
        ([_one("Allow", "s3:GetObject", "arn:b/*")], "s3:GetObject", "arn:B/x", False),
        ([_one("Allow", "s3:GetObject", "arn:b/*")], "s3:PutObject", "arn:b/x", False),
        ([_one("Allow", "s3:Get*", "arn:b/?")], "s3:GetObject", "arn:b/x", True),
        ([_one("Allow", "s3:Get*", "arn:b/?")], "s3:GetObject", "arn:b/xy", False),
        ([_one("Allow", "s3:*", "*"), _one("Deny", "s3:*", "arn:b/*")], "s3:Get", "arn:b/x", False),
        ([], "s3:GetObject", "arn:b/x", False),
    ],
)
def test_a_policy_is_read_as_iam_reads_it(
    statements: list[dict[str, object]], action: str, resource: str, allowed: bool
) -> None:
    assert allows({"Statement": statements}, action, resource) is allowed


@pytest.mark.parametrize(
    ("context", "allowed"),
    [({"k": "lambda"}, True), ({"k": "ec2"}, False), ({}, False)],
)
def test_a_condition_must_hold(context: dict[str, str], allowed: bool) -> None:
    statement = _one("Allow", "iam:PassRole", "*", Condition={"StringEquals": {"k": "lambda"}})
    assert allows({"Statement": statement}, "iam:PassRole", "arn", context) is allowed


@given(st.text(alphabet="ab*?", max_size=6), st.text(alphabet="ab", max_size=6))
def test_a_pattern_matches_as_in_a_shell(pattern: str, text: str) -> None:
    from fnmatch import fnmatchcase

    assert allows({"Statement": _one("Allow", "a", pattern)}, "a", text) is fnmatchcase(
        text, pattern
    )


@pytest.mark.parametrize("purpose", ["run", "deploy"])
def test_a_policy_names_every_action_and_nothing_of_others(purpose: str) -> None:
    document = policy(purpose, HOME)  # type: ignore[arg-type]
    assert not [action for action in actions(document) if "*" in action]
    for statement in document["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            # Listing knows no resource in IAM; everything else is bound to the prefix.
            narrow = "cloudbutton" in resource
            assert narrow or all(
                re.search(r":(List|Describe|GetAccount)", each) for each in statement["Action"]
            )


def test_who_may_run_may_not_deploy() -> None:
    run = policy("run", HOME)
    for action in ("lambda:CreateFunction", "iam:CreateRole", "s3:CreateBucket", "iam:PassRole"):
        assert not allows(run, action, HOME.function_arn)
        assert not allows(run, action, HOME.role_arn)


def test_a_policy_reaches_no_other_prefix_account_or_region() -> None:
    deploy = policy("deploy", HOME)
    for other in (
        HOME.with_(prefix="payroll"),
        HOME.with_(account="999999999999"),
        HOME.with_(region="eu-west-1"),
    ):
        assert not allows(deploy, "lambda:DeleteFunction", other.function_arn)
        assert not allows(deploy, "s3:DeleteObject", f"{other.bucket_arn}/jobs/x")
        assert not allows(deploy, "iam:DeleteRole", other.role_arn)


@pytest.fixture(scope="module")
def calls_of_a_life(
    the_emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[ApiCall]]]:
    """Deploy, run jobs, and undeploy, from the command line and a session; yield who asked for what."""
    calls: dict[str, list[ApiCall]] = {}

    def part(name: str) -> None:
        seen = sum(map(len, calls.values()))
        new = [call for call in the_emulator.calls[seen + before :] if call.principal == "user"]
        others = [call for call in the_emulator.calls[seen + before :] if call.principal != "user"]
        assert others == [], "code in functions has asked AWS for something"
        calls[name] = new

    with pytest.MonkeyPatch.context() as patch:
        for name, value in the_emulator.environment.items():
            patch.setenv(name, value)
        before = len(the_emulator.calls)
        assert main.main(["deploy", "lambda", "--yes"]) == 0
        assert main.main(["env", "build", "xxhash", "--deploy", "--yes"]) == 0
        _damage()
        assert main.main(["status", "lambda"]) == 1
        assert main.main(["deploy", "lambda", "--yes"]) == 0
        assert main.main(["status", "lambda"]) == 0
        part("deploy")
        _run_jobs(tmp_path_factory.mktemp("home"))
        assert [
            line
            for line in health(BotoClients(), HOME.with_(python=notebook_python()))
            if not line.ok
        ] == []
        part("run")
        assert main.main(["undeploy", "lambda", "--yes"]) == 0
        part("undeploy")
    yield calls


def _damage() -> None:
    """Change by hand what only a repair puts right, with requests that a repair makes as well."""
    clients = BotoClients()
    there = HOME.with_(python=notebook_python())
    name = {"FunctionName": there.function}
    clients.call("lambda", "UpdateFunctionConfiguration", **name, Timeout=3)
    clients.call("lambda", "UpdateFunctionCode", **name, ZipFile=deterministic_zip({"x.py": b""}))
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
    clients.call("iam", "UpdateAssumeRolePolicy", RoleName=there.role, PolicyDocument=trust)
    clients.call("s3", "CreateMultipartUpload", Bucket=there.bucket, Key="jobs/never-completed")


def _run_jobs(home: Path) -> None:
    import xxhash

    table = os.urandom(300_000)
    session = Session(home)
    options = JobOptions(quiet=True, backend="lambda")
    try:
        session.use("lambda", workers=2)
        plain = session.map(lambda x: x + len(table), range(20), options=options)
        assert plain.results()[:2] == [300_000, 300_001]
        with_package = session.map(
            lambda x: xxhash.xxh64_intdigest(bytes(x)), [1, 2], options=options
        )
        assert with_package.results() == [xxhash.xxh64_intdigest(bytes(x)) for x in (1, 2)]
    finally:
        settings.forget_used()
        session.close()


def _permissions(calls: list[ApiCall]) -> set[tuple[str, str]]:
    return {(call.permission, call.resource) for call in calls} - {(each, "*") for each in FREE}


CONTEXT = {"iam:PassedToService": "lambda.amazonaws.com"}


@pytest.mark.parametrize(
    ("part", "purpose"), [("deploy", "deploy"), ("run", "run"), ("undeploy", "deploy")]
)
def test_everything_that_is_asked_of_aws_is_allowed_by_the_policy(
    calls_of_a_life: dict[str, list[ApiCall]], part: str, purpose: str
) -> None:
    asked = _permissions(calls_of_a_life[part])
    document = policy(purpose, HOME)  # type: ignore[arg-type]
    assert asked
    assert {each for each in asked if not allows(document, *each, CONTEXT)} == set()


def test_no_action_of_the_policy_is_there_for_nothing(
    calls_of_a_life: dict[str, list[ApiCall]],
) -> None:
    asked = {call.permission for calls in calls_of_a_life.values() for call in calls}
    assert actions(policy("deploy", HOME)) - asked == set()
    in_run = {call.permission for call in calls_of_a_life["run"]}
    assert actions(policy("run", HOME)) - in_run == set()


@pytest.mark.parametrize("purpose", ["run", "deploy"])
def test_a_policy_with_the_longest_names_is_no_larger_than_iam_takes(purpose: Purpose) -> None:
    home = HOME.with_(prefix="p" * 28, region="ap-southeast-2")
    written = json.dumps(policy(purpose, home), separators=(",", ":"))
    assert len(written) <= 6144  # of a managed one; inline in a user, 2,048 are too few
