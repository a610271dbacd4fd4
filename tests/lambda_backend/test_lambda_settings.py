"""Values of the Lambda backend's settings: what does not fit is refused by name, wherever it was set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.backend import LambdaBackend
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.session.session import Session

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text for true or false": ({"emulate": "no"}, "`emulate` is 'no'; it must be true or false"),
    "a number for true or false": ({"emulate": 1}, "`emulate` is 1; "),
    "a number for a region": ({"region": 1}, "`region` is 1; it must be text"),
    "a region with a blank": ({"region": "eu central"}, "`region` is 'eu central'; .*such as"),
    "a region that is an address": ({"region": "x@example.com/"}, "`region` is 'x@example.com/'"),
    "a number for a profile": ({"profile": 12}, "`profile` is 12; it must be text"),
    "a number for a prefix": ({"prefix": 12}, "`prefix` is 12; it must be text"),
    "a truth for an architecture": ({"arch": True}, "`arch` is True; it must be text"),
    "text for memory": ({"memory": "much"}, "`memory` is 'much'; it must be a whole number"),
    "a truth for memory": ({"memory": True}, "`memory` is True; "),
    "a fraction of memory": ({"memory": 1769.5}, "`memory` is 1769.5; "),
    "text for workers": ({"workers": "ten"}, "`workers` is 'ten'; it must be a whole number"),
    "a number for variables": ({"variables": 5}, "`variables` is 5; it must be names"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_of_the_wrong_kind_is_refused_by_name(case: str) -> None:
    chosen, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        LambdaBackend(LambdaSettings(**chosen))


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean `arm64`"):
        LambdaBackend(LambdaSettings(arch="arm46"))  # type: ignore[arg-type]


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "", None])
def test_a_region_may_be_any_that_aws_could_have_or_be_left_to_it(region: str | None) -> None:
    LambdaBackend(LambdaSettings(region=region, profile=None, workers=None)).close()


def test_what_a_file_has_in_quotes_is_not_taken_for_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cloudbutton.toml").write_text('[lambda]\nemulate = "no"\n')
    with pytest.raises(UsageError, match="`emulate` is 'no'"):
        Session(tmp_path).driver("lambda")
