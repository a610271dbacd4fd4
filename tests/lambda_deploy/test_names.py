"""Names on AWS follow from the target, and fit what AWS accepts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda import resource_names
from cloudbutton_backend.backends.aws_lambda.resource_names import ARCHS, DeploymentTarget
from cloudbutton_backend.errors import UsageError

TARGETS = st.builds(
    DeploymentTarget,
    prefix=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?", fullmatch=True),
    account=st.from_regex(r"[0-9]{12}", fullmatch=True),
    region=st.sampled_from(["us-east-1", "ap-northeast-3", "us-gov-west-1", "cn-northwest-1"]),
    arch=st.sampled_from(ARCHS),
    python=st.sampled_from(["3.10", "3.11", "3.12", "3.13", "3.14"]),
    memory=st.integers(128, 10_240),
    environment=st.none() | st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
)


def _a_target(**changes: object) -> DeploymentTarget:
    given = {"account": "123456789012", "region": "eu-central-1", "python": "3.11"}
    return DeploymentTarget(**{**given, **changes})


def test_a_function_is_named_by_what_it_runs_on() -> None:
    assert _a_target().function == "cloudbutton-py311-x86_64-1769"
    digits = "0123456789abcdef" * 4
    assert _a_target(environment=digits).function == "cloudbutton-py311-x86_64-1769-0123456789ab"


def test_a_bucket_is_named_by_account_and_region() -> None:
    assert _a_target().bucket == "cloudbutton-123456789012-eu-central-1"


@given(TARGETS)
def test_a_target_is_found_again_in_its_functions_name(target: DeploymentTarget) -> None:
    found = resource_names.parse_function(
        target.function, account=target.account, region=target.region
    )
    assert found == target


@given(TARGETS)
def test_every_name_is_one_that_aws_accepts(target: DeploymentTarget) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", target.function)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", target.bucket)
    assert re.fullmatch(r"[\w+=,.@-]{1,64}", target.role)
    assert target.layer is None or re.fullmatch(r"[a-zA-Z0-9-_]{1,140}", target.layer)


@pytest.mark.parametrize(
    "name",
    [
        "cloudbutton",
        "cloudbutton-py311-x86_64",
        "cloudbutton-py311-riscv-1769",
        "cloudbutton-py311-x86_64-64",
        "Thumbnails-py311-x86_64-1769",
        "cloudbutton-py311-x86_64-1769-notahash",
    ],
)
def test_a_name_of_another_form_is_nobodys_of_ours(name: str) -> None:
    assert resource_names.parse_function(name, account="1", region="r") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prefix": "Cloud_Button"}, "small letters"),
        ({"prefix": "a" * 29}, "at most 28"),
        ({"prefix": "cloud-"}, "at both ends"),
        ({"arch": "riscv"}, "arm64 and x86_64"),
        ({"memory": 64}, "128 to 10,240 MiB"),
        ({"memory": 20_000}, "not 20,000"),
    ],
)
def test_what_aws_would_not_take_is_refused_before(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        _a_target(**changes)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-east-1", "aws-us-gov")],
)
def test_arns_name_the_part_of_aws_that_the_region_is_in(region: str, partition: str) -> None:
    target = _a_target(region=region)
    assert target.role_arn == f"arn:{partition}:iam::123456789012:role/cloudbutton-worker-{region}"
    assert target.bucket_arn.startswith(f"arn:{partition}:s3:::cloudbutton-")
