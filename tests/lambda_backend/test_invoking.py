"""What AWS may answer to an invocation, and what is made of it. A server of the test's plays Lambda."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.http import SignedHttpClient
from cloudbutton_backend.backends.aws_lambda.invocation_outcome import InvocationFailure
from cloudbutton_backend.backends.aws_lambda.invoke import (
    InvocationAnswer,
    Invoker,
    LostAnswer,
    NoInvocationSucceeds,
    answer_timeout,
)
from cloudbutton_backend.backends.aws_lambda.signing import Endpoint
from cloudbutton_backend.errors import (
    CloudServiceError,
    NoCredentials,
    NotPermitted,
    NotThere,
)

DENIED = (
    "User: arn:aws:iam::1:user/ann is not authorized to perform: lambda:InvokeFunction on resource: "
    "arn:aws:lambda:eu-west-1:1:function:f because no identity-based policy allows it"
)


class FakeLambda:
    """Answers invocations as scripted, one after the other; the last answer again and again."""

    def __init__(self, *script: Any) -> None:
        self.asked = 0
        script_of, outer = list(script), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer = script_of[min(outer.asked, len(script_of) - 1)]
                outer.asked += 1
                if answer is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def error(status: int, code: str, message: str = "", **more: str) -> Any:
    body = json.dumps({"message": message, **more}).encode()
    return status, {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com"}, body


def answer(body: Any = "ok", log: str = "", failed: bool = False) -> Any:
    headers = {"X-Amz-Log-Result": b64encode(log.encode()).decode()}
    if failed:
        headers["X-Amz-Function-Error"] = "Unhandled"
    return 200, headers, json.dumps(body).encode()


def throttled(reason: str = "ConcurrentInvocationLimitExceeded") -> Any:
    return error(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)


@pytest.fixture
def fake() -> Iterator[Any]:
    made: list[FakeLambda] = []

    def make(*script: Any) -> FakeLambda:
        made.append(FakeLambda(*script))
        return made[-1]

    yield make
    for each in made:
        each.close()


async def invoke(address: str, patience: float = 30.0, clock: Any = time.monotonic) -> Any:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}
    endpoint = Endpoint("lambda", "eu-west-1", "http", address)
    web = SignedHttpClient(BotoClients("eu-west-1", environment=keys), {"lambda": endpoint})
    invoker = Invoker(web, "eu-west-1", 10, patience, clock)
    may_run: list[bool] = []
    try:
        ended = await invoker.invoke("f", b"{}", 5.0, may_run.append)
    finally:
        await web.close()
    return ended, may_run, invoker


@pytest.mark.parametrize(
    "trouble",
    [
        throttled(),
        throttled("CallerRateLimitExceeded"),
        error(500, "ServiceException", "Internal"),
        error(503, "ServiceUnavailableException"),
        error(502, "EC2ThrottledException"),
        error(409, "ResourceConflictException", "The function is Pending"),
    ],
    ids=lambda trouble: f"{trouble[0]}",
)
async def test_what_passes_is_tried_again_without_anybody_noticing(fake: Any, trouble: Any) -> None:
    server = fake(trouble, trouble, answer())
    ended, may_run, invoker = await invoke(server.address)
    assert (ended.body, server.asked) == ("ok", 3)
    assert may_run == [True, False, True, False, True] and invoker.limiter.under_way == 0


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (error(403, "AccessDeniedException", DENIED), NotPermitted, "lambda:InvokeFunction"),
        (error(404, "ResourceNotFoundException", "Function not found"), NotThere, "function f"),
        (error(403, "ExpiredTokenException", "expired"), NoCredentials, "expired"),
        (error(403, "UnrecognizedClientException", "invalid"), NoCredentials, "not accept"),
        (
            error(413, "RequestTooLargeException", "Request must be smaller"),
            CloudServiceError,
            "smaller",
        ),
    ],
    ids=lambda case: case.__name__ if isinstance(case, type) else None,
)
async def test_what_will_not_pass_is_an_error_that_says_so(
    fake: Any, refusal: Any, kind: type[Exception], words: str
) -> None:
    server = fake(refusal)
    with pytest.raises(kind, match=words):
        await invoke(server.address)
    assert server.asked == 1


async def test_a_connection_that_breaks_after_the_request_leaves_the_call_in_doubt(
    fake: Any,
) -> None:
    server = fake(None)
    ended, may_run, _ = await invoke(server.address)
    assert isinstance(ended, LostAnswer) and may_run == [True] and server.asked == 1


async def test_where_nobody_answers_nothing_is_in_doubt_and_it_ends() -> None:
    with pytest.raises(NoInvocationSucceeds, match=r"0\.3 s: no connection"):
        await invoke("127.0.0.1:9", patience=0.3)


@pytest.mark.parametrize(
    ("within", "nbytes", "under_way", "seconds"),
    [
        pytest.param(1.0, 0, 0, 31.0, id="a small call"),
        pytest.param(1.0, 1_000_000, 1000, 1031.0, id="a thousand megabytes through one modem"),
        pytest.param(900.0, 1000, 1, 930.001, id="as long as Lambda allows"),
    ],
)
def test_an_answer_has_time_for_what_is_sent_before_it(
    within: float, nbytes: int, under_way: int, seconds: float
) -> None:
    assert answer_timeout(within, nbytes, under_way) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ReservedFunctionConcurrentInvocationLimitExceeded", "reserved concurrency is 0"),
        ("ConcurrentInvocationLimitExceeded", "in use by others"),
    ],
)
async def test_an_account_that_refuses_everything_is_given_up_with_the_likely_cause(
    fake: Any, reason: str, words: str
) -> None:
    with pytest.raises(NoInvocationSucceeds, match=words):
        await invoke(fake(throttled(reason)).address, patience=0.5)


async def test_an_answer_brings_the_bill_along(fake: Any) -> None:
    log = (
        "START RequestId: x\nREPORT RequestId: x\tDuration: 12.50 ms\tBilled Duration: 113 ms\t"
        "Memory Size: 1769 MB\tMax Memory Used: 60 MB\tInit Duration: 100.01 ms\n"
    )
    ended, _, _ = await invoke(fake(answer({"records": ""}, log)).address)
    assert isinstance(ended, InvocationAnswer) and ended.report is not None
    report = ended.report
    assert (report.billed, report.seconds, report.start) == (0.113, 0.0125, 0.10001)
    assert (report.memory, report.peak) == (1769, 60)


async def test_a_function_error_is_told_from_an_answer(fake: Any) -> None:
    said = {"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}
    ended, _, _ = await invoke(fake(answer(said, failed=True)).address)
    assert isinstance(ended, InvocationFailure) and ended.fault == "crash"
