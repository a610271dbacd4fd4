"""Lambda's limits hold: payloads, time, concurrency, scaling rate, sizes of code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError

from .account import Account, zipped

ECHO = "def handler(event, context): return event"
SIZED = "def handler(event, context): return 'x' * event"


def _refused(call: Callable[..., Any], *args: Any, **options: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(*args, **options)
    answer: dict[str, Any] = caught.value.response
    return answer


@pytest.mark.parametrize(("kind", "limit"), [("RequestResponse", 6_291_456), ("Event", 1_048_576)])
def test_a_payload_up_to_the_limit_is_taken_and_one_byte_more_is_not(
    account: Account, kind: str, limit: int
) -> None:
    client, name = account.client("lambda"), account.function("def handler(event, context): pass")
    fits = b'"' + b"x" * (limit - 2) + b'"'
    assert client.invoke(FunctionName=name, Payload=fits, InvocationType=kind)["StatusCode"] < 300
    refused = _refused(client.invoke, FunctionName=name, Payload=fits + b" ", InvocationType=kind)
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert refused["Error"] == {
        "Code": "RequestEntityTooLargeException",
        "Message": f"{limit + 1} byte payload is too large for the {kind} invocation type "
        f"(limit {limit} bytes)",
    }


def test_an_answer_up_to_the_limit_comes_back_and_a_larger_one_is_an_error(
    account: Account,
) -> None:
    name = account.function(SIZED)
    assert len(account.invoke(name, 6_291_554).body) == 6_291_554
    answer = account.invoke(name, 6_291_555)
    assert answer.error == "Unhandled"
    assert answer.body == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size (6291557 bytes) exceeded maximum allowed payload "
        "size (6291556 bytes).",
    }


def test_a_payload_that_is_not_json_is_refused(account: Account) -> None:
    name = account.function(ECHO)
    refused = _refused(account.client("lambda").invoke, FunctionName=name, Payload=b"{nope")
    assert refused["Error"]["Code"] == "InvalidRequestContentException"


def test_no_payload_is_an_empty_event(account: Account) -> None:
    name = account.function(ECHO)
    got = account.client("lambda").invoke(FunctionName=name)
    assert got["Payload"].read() == b"{}"


#: Handlers that are all at work at the same time, however slow this machine is.
TOGETHER = """
import os, tempfile, time
from pathlib import Path
def handler(event, context):
    folder = Path(event["folder"])
    (folder / str(event["n"])).touch()
    deadline = time.monotonic() + 15
    while len(list(folder.iterdir())) < event["wanted"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""


def _together(tmp_path: Any, count: int, wanted: int) -> list[dict[str, Any]]:
    tmp_path.mkdir(exist_ok=True)
    return [{"folder": str(tmp_path), "n": n, "wanted": wanted} for n in range(count)]


def test_beyond_the_account_s_concurrency_invocations_are_throttled(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(concurrency=4)
    name = account.function(TOGETHER)
    answers = account.invoke_together(name, _together(tmp_path, 7, 4))
    assert Counter(status for status, _ in answers) == {200: 4, 429: 3}
    refused = [body for status, body in answers if status == 429]
    assert refused == 3 * [
        {
            "Reason": "ConcurrentInvocationLimitExceeded",
            "Type": "User",
            "message": "Rate Exceeded.",
        }
    ]
    assert account.invoke(name, _together(tmp_path / "again", 1, 1)[0]).error is None


def test_reserved_concurrency_is_a_limit_and_a_promise(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(concurrency=103)
    client = account.client("lambda")
    one, other = account.function(TOGETHER), account.function(ECHO)
    client.put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=3)
    answers = account.invoke_together(one, _together(tmp_path, 5, 3))
    assert Counter(status for status, _ in answers) == {200: 3, 429: 2}
    reasons = {body["Reason"] for status, body in answers if status == 429}
    assert reasons == {"ReservedFunctionConcurrentInvocationLimitExceeded"}

    refused = _refused(
        client.put_function_concurrency, FunctionName=other, ReservedConcurrentExecutions=1
    )
    assert "below its minimum value of [100]" in refused["Error"]["Message"]
    limit = client.get_account_settings()["AccountLimit"]
    assert (limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]) == (103, 100)

    client.delete_function_concurrency(FunctionName=one)
    client.put_function_concurrency(FunctionName=one, ReservedConcurrentExecutions=0)
    throttled = _refused(client.invoke, FunctionName=one)
    assert throttled["Error"]["Code"] == "TooManyRequestsException"
    assert throttled["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert throttled["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"


def test_environments_are_added_no_faster_than_the_scaling_rate(
    new_account: Callable[..., Account], tmp_path: Any
) -> None:
    account = new_account(burst=2, burst_seconds=1000.0, idle_seconds=1e6)
    name = account.function(TOGETHER)
    answers = account.invoke_together(name, _together(tmp_path, 5, 2))
    refused = [body["Reason"] for status, body in answers if status == 429]
    assert refused == 3 * ["FunctionInvocationRateLimitExceeded"]
    warm = account.invoke_together(name, _together(tmp_path / "warm", 2, 2))
    assert [status for status, _ in warm] == [200, 200], "warm environments are not limited"

    account.emulator.advance(500)  # half of the allowance is back
    more = account.invoke_together(name, _together(tmp_path / "more", 5, 3))
    assert Counter(status for status, _ in more) == {200: 3, 429: 2}


def test_environments_that_nobody_uses_end(new_account: Callable[..., Account]) -> None:
    account = new_account(idle_seconds=300.0)
    name = account.function(ECHO)
    account.invoke(name)
    account.emulator.advance(299)
    assert "Init Duration" not in account.invoke(name).report
    account.emulator.advance(301)
    assert "Init Duration" in account.invoke(name).report


def test_an_initialisation_of_more_than_its_seconds_is_begun_again_at_the_function_s_expense(
    new_account: Callable[..., Account],
) -> None:
    account = new_account(init_seconds=0.5)
    source = "import time\nprint('init')\ntime.sleep({})\ndef handler(event, context): pass\n"
    slow = account.invoke(account.function(source.format(0.8), Timeout=5))
    assert slow.error is None and slow.log.count("init\n") == 2
    never = account.invoke(account.function(source.format(30), Timeout=1))
    assert never.body["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")


def test_code_beyond_the_limit_is_refused(new_account: Callable[..., Account]) -> None:
    account = new_account(unzipped_bytes=3000)
    client = account.client("lambda")
    large = {"data": "x" * 2000}
    name = account.function(ECHO, files=large)
    refused = _refused(account.function, ECHO, files={"data": "x" * 3000})
    assert refused["Error"]["Message"] == "Unzipped size must be smaller than 3000 bytes"
    layer = client.publish_layer_version(LayerName="more", Content={"ZipFile": zipped(large)})
    refused = _refused(
        client.update_function_configuration, FunctionName=name, Layers=[layer["LayerVersionArn"]]
    )
    assert "combined with layers exceeds" in refused["Error"]["Message"]


@pytest.mark.parametrize(
    "options",
    [
        {"MemorySize": 10_241},
        {"Timeout": 901},
        {"Environment": {"Variables": {"LONG": "x" * 5000}}},
        {"Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:none:1"]},
    ],
    ids=str,
)
def test_a_configuration_that_lambda_would_refuse_is_refused(
    account: Account, options: dict[str, Any]
) -> None:
    refused = _refused(account.function, ECHO, **options)
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 400


async def test_a_request_without_a_signature_is_refused(account: Account) -> None:
    url = account.emulator.endpoints["lambda"] + "/2015-03-31/functions/any/invocations"
    async with aiohttp.ClientSession() as session, session.post(url) as got:
        assert got.status == 403
        assert got.headers["x-amzn-ErrorType"] == "MissingAuthenticationTokenException"
