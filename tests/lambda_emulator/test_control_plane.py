"""The control plane: states, changes, versions, layers, code from S3, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudbutton_backend.backends.aws_lambda.emulator import EmulatedFaults

from .account import Account, zipped

ONE = "def handler(event, context): return 1"
TWO = {"module.py": "def handler(event, context): return 2"}


def _code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_a_new_function_is_pending_before_it_is_active(
    new_account: Callable[..., Account],
) -> None:
    account = new_account(pending_seconds=1000.0)
    client = account.client("lambda")
    created: dict[str, Any] = client.create_function(
        FunctionName="new",
        Runtime="python3.11",
        Role=account.role,
        Handler="module.handler",
        Code={"ZipFile": zipped({"module.py": ONE})},
    )
    assert created["State"] == "Pending"
    assert client.get_function(FunctionName="new")["Configuration"]["State"] == "Pending"
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName="new")
    assert _code_of(caught) == "ResourceConflictException"
    with pytest.raises(ClientError) as caught:
        client.update_function_configuration(FunctionName="new", Timeout=9)
    assert _code_of(caught) == "ResourceConflictException"
    account.emulator.advance(1000)
    client.get_waiter("function_active_v2").wait(FunctionName="new")
    assert client.get_function_configuration(FunctionName="new")["State"] == "Active"


def test_an_update_is_in_progress_before_it_is_successful_and_then_runs(
    new_account: Callable[..., Account],
) -> None:
    account = new_account(pending_seconds=1000.0)
    client, name = account.client("lambda"), account.function(ONE)
    assert account.invoke(name).body == 1
    updated = client.update_function_code(FunctionName=name, ZipFile=zipped(TWO))
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    with pytest.raises(ClientError) as caught:
        client.update_function_configuration(FunctionName=name, MemorySize=512)
    assert "An update is in progress" in str(caught.value)
    account.emulator.advance(1000)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    changed = account.invoke(name)
    assert changed.body == 2 and "Init Duration" in changed.report


def test_a_changed_configuration_needs_new_environments(account: Account) -> None:
    client = account.client("lambda")
    name = account.function("import os\ndef handler(event, context): return os.environ.get('A')\n")
    assert account.invoke(name).body is None
    client.update_function_configuration(
        FunctionName=name, MemorySize=300, Environment={"Variables": {"A": "b"}}
    )
    answer = account.invoke(name)
    assert answer.body == "b" and "Memory Size: 300 MB" in answer.report


def test_code_comes_from_s3_as_well(account: Account) -> None:
    client, storage = account.client("lambda"), account.client("s3")
    storage.create_bucket(Bucket="packages")
    storage.put_object(Bucket="packages", Key="a/two.zip", Body=zipped(TWO))
    name = account.function(ONE)
    client.update_function_code(FunctionName=name, S3Bucket="packages", S3Key="a/two.zip")
    assert account.invoke(name).body == 2
    account.emulator.advance(1)
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.update_function_code(FunctionName=name, S3Bucket="packages", S3Key="none")


def test_a_published_version_stays_as_it_was(account: Account) -> None:
    client, name = account.client("lambda"), account.function(ONE)
    version = client.publish_version(FunctionName=name)["Version"]
    client.update_function_code(FunctionName=name, ZipFile=zipped(TWO))
    account.emulator.advance(1)
    assert account.invoke(name).body == 2
    old = account.invoke(name, Qualifier=version)
    assert (old.body, old.headers["x-amz-executed-version"]) == (1, version)


@pytest.mark.parametrize(
    "form", ["{name}", "{arn}", "123456789012:function:{name}", "{arn}:$LATEST"]
)
def test_a_function_may_be_named_in_every_way(account: Account, form: str) -> None:
    name = account.function(ONE)
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    assert account.invoke(form.format(name=name, arn=arn)).body == 1


def test_a_function_that_does_not_exist_is_not_found(account: Account) -> None:
    with pytest.raises(ClientError) as caught:
        account.invoke("missing")
    assert _code_of(caught) == "ResourceNotFoundException"
    assert "function:missing:$LATEST" in str(caught.value)


def test_a_function_of_another_region_is_not_found(account: Account) -> None:
    name = account.function(ONE)
    region, account.emulator.region = account.emulator.region, "eu-west-1"
    try:
        with pytest.raises(ClientError, match="Function not found: arn:aws:lambda:eu-west-1"):
            account.invoke(name)
    finally:
        account.emulator.region = region


def test_a_deleted_function_is_gone_with_its_environments(account: Account) -> None:
    name = account.function(ONE)
    account.invoke(name)
    account.client("lambda").delete_function(FunctionName=name)
    with pytest.raises(ClientError, match="Function not found"):
        account.invoke(name)
    assert not [e for e in account.emulator.state["environments"] if e["function"] == name]


def test_a_function_needs_a_role_that_exists(account: Account) -> None:
    with pytest.raises(ClientError, match="role"):
        account.client("lambda").create_function(
            FunctionName="orphan",
            Runtime="python3.11",
            Role="arn:aws:iam::123456789012:role/nobody",
            Handler="module.handler",
            Code={"ZipFile": zipped({"module.py": ONE})},
        )


def test_a_new_role_cannot_be_assumed_at_once_where_that_is_scripted(
    new_account: Callable[..., Account],
) -> None:
    account = new_account(faults=EmulatedFaults(role_not_ready=2))
    for _ in range(2):
        with pytest.raises(ClientError, match="cannot be assumed by Lambda"):
            account.function(ONE)
    assert account.invoke(account.function(ONE)).body == 1


def test_the_same_name_twice_is_a_conflict(account: Account) -> None:
    name = account.function(ONE)
    with pytest.raises(ClientError) as caught:
        account.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=account.role,
            Handler="module.handler",
            Code={"ZipFile": zipped({"module.py": ONE})},
        )
    assert _code_of(caught) == "ResourceConflictException"


def test_what_is_not_a_zip_file_is_refused(account: Account) -> None:
    name = account.function(ONE)
    with pytest.raises(ClientError, match="Could not unzip"):
        account.client("lambda").update_function_code(FunctionName=name, ZipFile=b"no zip")
