"""Does what a plan says until nothing is left to do. The only module here that changes AWS."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.deployment.actual import (
    ActualDeployment,
    look_around,
    look_for,
)
from cloudbutton_backend.backends.aws_lambda.deployment.desired import DesiredDeployment
from cloudbutton_backend.backends.aws_lambda.deployment.planning import (
    plan_deployment,
    plan_removal,
)
from cloudbutton_backend.backends.aws_lambda.deployment.steps import (
    AwsRequest,
    DeferredValue,
    DeploymentPlan,
    DeploymentStep,
    EmptyBucket,
    FileContent,
)
from cloudbutton_backend.backends.aws_lambda.resource_names import DeploymentTarget
from cloudbutton_backend.errors import (
    AlreadyThere,
    CloudServiceError,
    DeploymentRefused,
    NotThere,
    Throttled,
)

Say = Callable[[str], None]
Pause = Callable[[float], None]

#: Seconds between one try and the next. IAM tells Lambda of a new role within about ten seconds; a bucket
#: of a name that was just deleted may take longer. After these, it is an error: 90 seconds in all.
_BACK_OFF: Final = (1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 15.0, 20.0, 20.0)
#: Seconds between checks of a function that is being created or changed, and how many checks.
_LOOK_EVERY, _LOOKS = 1.0, 120


def deploy(
    clients: BotoClients,
    desired: DesiredDeployment,
    *,
    say: Say = lambda _: None,
    pause: Pause = time.sleep,
) -> ActualDeployment:
    """Bring the account to the desired deployment, and return what is there then.

    Safe to repeat, to interrupt, and to do at the same time as another user: each try looks at what is
    there and does what is missing.

    Raises
    ------
    DeploymentRefused
        Something that is not ours has one of our names. Nothing was changed.
    CloudServiceError
        AWS refused a request, or did not get ready within about 90 seconds.
    """
    actual = ActualDeployment(home=desired.home)

    def look() -> DeploymentPlan:
        nonlocal actual
        actual = look_for(clients, desired.targets)
        plan = plan_deployment(desired, actual)
        if plan.refusals:
            raise DeploymentRefused("\n".join(plan.refusals))
        return plan

    _until_done(clients, look, say, pause)
    return actual


def undeploy(
    clients: BotoClients,
    home: DeploymentTarget,
    *,
    say: Say = lambda _: None,
    pause: Pause = time.sleep,
) -> None:
    """Remove everything that was deployed under `home`'s prefix in its region. Safe to repeat."""
    _until_done(clients, lambda: plan_removal(look_around(clients, home)), say, pause)


def _until_done(
    clients: BotoClients, look: Callable[[], DeploymentPlan], say: Say, pause: Pause
) -> None:
    said: set[str] = set()
    waits = iter(_BACK_OFF)
    plan = look()
    while plan.steps:
        error = _try(clients, plan, said, say, pause)
        if error is None:
            plan = look()
            if not plan.steps:
                return
        # It did not work yet, or what AWS says a moment later is still the old state.
        delay = next(waits, None)
        if delay is None:
            raise error or _never_settled(plan)
        pause(delay)
        plan = look()


def _try(
    clients: BotoClients, plan: DeploymentPlan, said: set[str], say: Say, pause: Pause
) -> CloudServiceError | None:
    """Carry out a plan; return the error that stopped it if that may go away by itself."""
    try:
        _carry_out(clients, plan, said, say, pause)
    except CloudServiceError as error:
        if not _may_pass(error):
            raise
        reason = _waiting_for(error)
        if reason not in said:
            said.add(reason)
            say(reason)
        return error
    return None


def _carry_out(
    clients: BotoClients, plan: DeploymentPlan, said: set[str], say: Say, pause: Pause
) -> None:
    given: dict[str, Any] = {}
    for step in plan.steps:
        if str(step) not in said:
            said.add(str(step))
            say(str(step))
        for action in step.actions:
            if isinstance(action, EmptyBucket):
                _empty(clients, action.bucket)
            elif step.kind == "delete":
                with contextlib.suppress(NotThere):  # another user was quicker
                    _make(clients, action, step, given)
            else:
                _make(clients, action, step, given)
                if action.then_ready:
                    _await_ready(clients, action.then_ready, pause)


def _make(
    clients: BotoClients, request: AwsRequest, step: DeploymentStep, given: dict[str, Any]
) -> None:
    with ExitStack() as files:
        parameters = _filled_in(request.parameters, given, files)
        answer = clients.call(request.service, request.operation, about=step.what, **parameters)
    if request.gives is not None:
        name, answer_field = request.gives
        given[name] = answer[answer_field]


def _filled_in(value: Any, given: Mapping[str, Any], files: ExitStack) -> Any:
    if isinstance(value, DeferredValue):
        return given[value.name]
    if isinstance(value, FileContent):
        return files.enter_context(value.path.open("rb"))
    if isinstance(value, Mapping):
        return {key: _filled_in(each, given, files) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, given, files) for each in value]
    return value


def _await_ready(clients: BotoClients, function: str, pause: Pause) -> None:
    """Wait until a function that was made or changed can be called or changed again."""
    about = f"function {function}"
    for _ in range(_LOOKS):
        now = clients.call("lambda", "GetFunction", FunctionName=function, about=about)[
            "Configuration"
        ]
        state, update = now.get("State", "Active"), now.get("LastUpdateStatus", "Successful")
        if "Failed" in (state, update):
            reason = (
                now.get("StateReason") or now.get("LastUpdateStatusReason") or "no reason given"
            )
            raise CloudServiceError(
                f"Lambda could not get {about} ready: {reason}", resource=function
            )
        if state in ("Active", "Inactive") and update == "Successful":
            return
        pause(_LOOK_EVERY)
    raise CloudServiceError(
        f"Lambda has not got {about} ready within {_LOOKS * _LOOK_EVERY:g} s. Run the command again: it "
        f"goes on where it stopped.",
        resource=function,
    )


def _empty(clients: BotoClients, bucket: str) -> None:
    about = f"bucket {bucket}"
    with contextlib.suppress(NotThere):
        for uploads in clients.pages("s3", "ListMultipartUploads", Bucket=bucket, about=about):
            for each in uploads.get("Uploads", ()):
                upload = {"Key": each["Key"], "UploadId": each["UploadId"]}
                clients.call("s3", "AbortMultipartUpload", Bucket=bucket, about=about, **upload)
        for keys in _keys(clients, bucket):
            doomed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = clients.call("s3", "DeleteObjects", Bucket=bucket, Delete=doomed, about=about)
            for error in answer.get("Errors", ())[:1]:
                raise CloudServiceError(
                    f"{error['Key']} in {about} could not be deleted: {error['Code']}: {error['Message']}",
                    action="s3:DeleteObject",
                    code=error["Code"],
                    resource=bucket,
                )


def _keys(clients: BotoClients, bucket: str) -> Iterator[list[str]]:
    for page in clients.pages("s3", "ListObjectsV2", Bucket=bucket, about=f"bucket {bucket}"):
        keys = [each["Key"] for each in page.get("Contents", ())]
        if keys:
            yield keys


def _may_pass(error: CloudServiceError) -> bool:
    """Return whether an error is of the kind that goes away by itself."""
    return isinstance(error, (AlreadyThere, NotThere, Throttled)) or _is_role_unknown(error)


def _is_role_unknown(error: CloudServiceError) -> bool:
    return error.code == "InvalidParameterValueException" and "cannot be assumed" in str(error)


def _waiting_for(error: CloudServiceError) -> str:
    if _is_role_unknown(error):
        return "wait    AWS is telling Lambda of the new role, which takes about ten seconds"
    if isinstance(error, AlreadyThere):
        return f"wait    something else is changing it: {error}"
    return f"wait    {error}"


def _never_settled(plan: DeploymentPlan) -> CloudServiceError:
    left = "; ".join(str(step) for step in plan.steps)
    return CloudServiceError(
        f"AWS accepted every request, but does not show their effect. Left to do: {left}. Is somebody else "
        f"deploying another version under the same prefix? Then use one of your own with `--prefix`."
    )
