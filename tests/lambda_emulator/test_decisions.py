"""What is decided without I/O: admission, bills and log lines, permissions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda.emulator import LambdaLimits, ReportLine
from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import IamRequest, calls_of
from cloudbutton_backend.backends.aws_lambda.emulator.limits import (
    AccountLoad,
    ConcurrencyAllowance,
    refusal,
    reservation_refusal,
)

IDLE: dict[str, Any] = {
    "running": 0,
    "reserved": None,
    "unreserved_running": 0,
    "reserved_by_all": 0,
    "warm": False,
}
ACCOUNT = "ConcurrentInvocationLimitExceeded"
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
RATE = "FunctionInvocationRateLimitExceeded"


@pytest.mark.parametrize(
    ("load", "tokens", "reason"),
    [
        ({}, 5, None),
        ({"unreserved_running": 9}, 5, None),
        ({"unreserved_running": 10}, 5, ACCOUNT),
        ({"unreserved_running": 10, "warm": True}, 5, ACCOUNT),
        ({"unreserved_running": 6, "reserved_by_all": 4}, 5, ACCOUNT),
        ({"unreserved_running": 5, "reserved_by_all": 4}, 5, None),
        ({"running": 2, "reserved": 3, "unreserved_running": 10}, 5, None),
        ({"running": 3, "reserved": 3}, 5, RESERVED),
        ({"reserved": 0}, 5, RESERVED),
        ({}, 0.9, RATE),
        ({"warm": True}, 0.0, None),
    ],
    ids=str,
)
def test_an_invocation_is_admitted_or_throttled_for_one_reason(
    load: dict[str, Any], tokens: float, reason: str | None
) -> None:
    found = refusal(
        AccountLoad(**{**IDLE, **load}),
        ConcurrencyAllowance(tokens, 0.0),
        LambdaLimits(concurrency=10),
    )
    assert (found and found.reason) == reason


@given(
    st.lists(st.floats(min_value=0, max_value=30), max_size=60),
    st.integers(min_value=1, max_value=20),
)
def test_no_more_environments_start_in_a_period_than_twice_the_allowance(
    gaps: list[float], burst: int
) -> None:
    limits = LambdaLimits(burst=burst, burst_seconds=10.0)
    allowance, now, started = ConcurrencyAllowance.full(limits, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        allowance = allowance.at_time(now, limits)
        if refusal(AccountLoad(**IDLE), allowance, limits) is None:
            allowance = allowance.less_one()
            started.append(now)
    for begin in started:
        assert len([t for t in started if begin <= t < begin + 10.0]) <= 2 * burst


@pytest.mark.parametrize(
    ("wanted", "others", "concurrency", "refused"),
    [(900, 0, 1000, False), (901, 0, 1000, True), (500, 401, 1000, True), (1, 0, 10, True)],
)
def test_a_reservation_leaves_something_for_the_others(
    wanted: int, others: int, concurrency: int, refused: bool
) -> None:
    found = reservation_refusal(wanted, others, LambdaLimits(concurrency=concurrency))
    assert (found is not None) == refused


def _report(**changes: Any) -> ReportLine:
    plain: dict[str, Any] = {
        "request_id": "r",
        "function": "f",
        "version": "$LATEST",
        "duration_ms": 12.0,
        "init_ms": None,
        "memory_mb": 512,
        "used_mb": 40,
        "status": "success",
    }
    return ReportLine(**{**plain, **changes})


@pytest.mark.parametrize(
    ("duration", "init", "billed"),
    [(12.0, None, 12), (12.01, None, 13), (0.2, None, 1), (12.0, 100.0, 112), (0.6, 100.6, 102)],
)
def test_the_bill_is_rounded_up_and_includes_the_initialisation(
    duration: float, init: float | None, billed: int
) -> None:
    report = _report(duration_ms=duration, init_ms=init)
    assert report.billed_ms == billed
    assert report.gb_seconds == pytest.approx(billed / 1000 / 2)


def test_a_report_line_is_lambda_s() -> None:
    assert str(_report(init_ms=7.5)) == (
        "REPORT RequestId: r\tDuration: 12.00 ms\tBilled Duration: 20 ms\tMemory Size: 512 MB\t"
        "Max Memory Used: 40 MB\tInit Duration: 7.50 ms\t\n"
    )
    assert str(_report(status="error", error_type="Runtime.ExitError")).endswith(
        "\tStatus: error\tError Type: Runtime.ExitError\t\n"
    )


FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:f"
V = "/2015-03-31"
#: Service, method, address, body, and the permissions it needs.
REQUESTS: list[tuple[str, str, str, bytes, list[tuple[str, str]]]] = [
    ("lambda", "POST", f"{V}/functions/f/invocations", b"{}", [("lambda:InvokeFunction", FUNCTION)]),
    (
        "lambda",
        "POST",
        f"{V}/functions/f/invocations?Qualifier=7",
        b"{}",
        [("lambda:InvokeFunction", FUNCTION + ":7")],
    ),
    ("lambda", "GET", f"{V}/functions/f/configuration", b"", [("lambda:GetFunctionConfiguration", FUNCTION)]),
    (
        "lambda",
        "POST",
        f"{V}/functions",
        b'{"FunctionName": "f", "Role": "arn:r", "Layers": ["arn:l"], "Tags": {"a": "b"},'
        b' "Code": {"S3Bucket": "b", "S3Key": "k"}}',
        [
            ("lambda:CreateFunction", FUNCTION),
            ("iam:PassRole", "arn:r"),
            ("lambda:GetLayerVersion", "arn:l"),
            ("s3:GetObject", "arn:aws:s3:::b/k"),
            ("lambda:TagResource", FUNCTION),
        ],
    ),
    (
        "lambda",
        "DELETE",
        "/2018-10-31/layers/l/versions/3",
        b"",
        [("lambda:DeleteLayerVersion", "arn:aws:lambda:eu-west-1:123456789012:layer:l:3")],
    ),
    ("s3", "GET", "/b/k%20x?x-id=GetObject", b"", [("s3:GetObject", "arn:aws:s3:::b/k x")]),
    ("s3", "HEAD", "/b/k", b"", [("s3:GetObject", "arn:aws:s3:::b/k")]),
    ("s3", "PUT", "/b/k?partNumber=1&uploadId=u", b"", [("s3:PutObject", "arn:aws:s3:::b/k")]),
    ("s3", "POST", "/b/k?uploads", b"", [("s3:PutObject", "arn:aws:s3:::b/k")]),
    ("s3", "DELETE", "/b/k?uploadId=u", b"", [("s3:AbortMultipartUpload", "arn:aws:s3:::b/k")]),
    ("s3", "DELETE", "/b/k", b"", [("s3:DeleteObject", "arn:aws:s3:::b/k")]),
    ("s3", "GET", "/b?list-type=2&prefix=x", b"", [("s3:ListBucket", "arn:aws:s3:::b")]),
    ("s3", "HEAD", "/b", b"", [("s3:ListBucket", "arn:aws:s3:::b")]),
    ("s3", "PUT", "/b", b"", [("s3:CreateBucket", "arn:aws:s3:::b")]),
    ("s3", "PUT", "/b?lifecycle", b"", [("s3:PutLifecycleConfiguration", "arn:aws:s3:::b")]),
    ("s3", "PUT", "/b?publicAccessBlock", b"", [("s3:PutBucketPublicAccessBlock", "arn:aws:s3:::b")]),
    (
        "s3",
        "POST",
        "/b?delete",
        b"<Delete><Object><Key>x</Key></Object><Object><Key>y/z</Key></Object></Delete>",
        [("s3:DeleteObject", "arn:aws:s3:::b/x"), ("s3:DeleteObject", "arn:aws:s3:::b/y/z")],
    ),
    ("s3", "GET", "/", b"", [("s3:ListAllMyBuckets", "*")]),
    (
        "iam",
        "POST",
        "/",
        b"Action=PutRolePolicy&RoleName=r&PolicyName=p",
        [("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/r")],
    ),
    ("sts", "POST", "/", b"Action=GetCallerIdentity", [("sts:GetCallerIdentity", "*")]),
    (
        "logs",
        "POST",
        "/",
        b'{"logGroupName": "/aws/lambda/f"}',
        [
            (
                "logs:PutRetentionPolicy",
                "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/f:*",
            )
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "method", "address", "body", "needs"),
    REQUESTS,
    ids=[f"{case[0]} {case[4][0][0]}" for case in REQUESTS],
)
def test_a_request_is_recorded_as_the_permissions_it_needs(
    service: str, method: str, address: str, body: bytes, needs: list[tuple[str, str]]
) -> None:
    path, _, query = address.partition("?")
    signature = f"AWS4-HMAC-SHA256 Credential=AKIA/20261120/eu-west-1/{service}/aws4_request, x"
    headers = {"authorization": signature, "x-amz-target": "Logs_20140328.PutRetentionPolicy"}
    calls = calls_of(IamRequest(method, path, query, headers, body), 1.0)
    assert [(call.permission, call.resource) for call in calls] == needs
    assert {call.principal for call in calls} == {"user"}


def test_a_request_that_nobody_signed_needs_nothing() -> None:
    assert calls_of(IamRequest("GET", "/b/k", "", {}), 0.0) == []


def test_a_presigned_address_is_signed() -> None:
    query = "X-Amz-Credential=ASIA%2F20261120%2Fus-east-1%2Fs3%2Faws4_request"
    (call,) = calls_of(IamRequest("GET", "/b/k", query, {}), 0.0)
    assert (call.permission, call.principal) == ("s3:GetObject", "role")
