"""Which packages the pickled items of a call mention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cloudbutton_backend.backends.aws_lambda.call_encoding import imports_in
from cloudbutton_backend.capture import dump_items
from cloudbutton_backend.worker.calls import PushedCall


def sine(x: float) -> float:
    return float(np.sin(x))


def sine_too(x: float) -> float:
    import numpy

    return float(numpy.sin(x))


@pytest.mark.parametrize(
    ("items", "packages"),
    [
        ([1, "text", None], set()),
        ([np.arange(3)], {"numpy"}),
        ([(1, {"when": pd.Timestamp(0)})], {"pandas"}),
        ([PushedCall(sine, (1,), {})], {"numpy"}),
        ([PushedCall(sine_too, (1,), {})], {"numpy"}),
        ([PushedCall(len, ([],), {})], set()),
        (["json", "os.path"], set()),
    ],
)
def test_what_items_need_is_found(items: list[Any], packages: set[str]) -> None:
    assert imports_in(dump_items(items)[0]) == packages
