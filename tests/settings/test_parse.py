from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.settings import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 GB", 2_000_000_000), ("2gb", 2_000_000_000), (" 1.5 kB ", 1500), ("64 KiB", 65536),
        ("0", 0), (65536, 65536), ("1e3", 1000), ("2.3 GB", 2_300_000_000), (12.0, 12),
    ],
)  # fmt: skip
def test_sizes(text: Any, expected: int) -> None:
    assert parse.size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90 s", 90), ("90", 90), (90, 90), ("1.5 h", 5400), ("30 days", 2_592_000),
        ("2min", 120), ("250 ms", 0.25), ("1 day", 86_400),
    ],
)  # fmt: skip
def test_lengths_of_time(text: Any, expected: float) -> None:
    assert parse.seconds(text) == expected


WRONG: list[tuple[Callable[[Any], Any], Any]] = [
    (parse.size, "2 apples"), (parse.size, "GB"), (parse.size, -1), (parse.size, True),
    (parse.size, [1]), (parse.size, "nan"), (parse.size, "1e400"), (parse.size, math.inf),
    (parse.seconds, "soon"), (parse.seconds, 0), (parse.seconds, "-3 s"), (parse.seconds, "1 GB"),
    (parse.count, 0), (parse.count, -2), (parse.count, 1.5), (parse.count, "2 s"),
    (parse.count, False), (parse.count, math.nan), (parse.whole, -1), (parse.whole, None),
    (parse.dollars, -0.1), (parse.dollars, "free"), (parse.dollars, math.nan),
    (parse.mebibytes, 0), (parse.mebibytes, "2 parsecs"), (parse.flag, "perhaps"), (parse.flag, 1),
    (parse.name, ""), (parse.name, 3), (parse.name, {}),
]  # fmt: skip


@pytest.mark.parametrize(("read", "value"), WRONG)
def test_what_does_not_fit_says_what_would(read: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ValueError, match=r"^(a|an|one|`true`)"):
        read(value)


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (parse.dollars, "$0.50", 0.5), (parse.dollars, 0, 0.0), (parse.mebibytes, 2048, 2048),
        (parse.mebibytes, "2 GiB", 2048), (parse.flag, "On", True), (parse.flag, "0", False),
        (parse.count, "4", 4), (parse.whole, 0, 0), (parse.name, " local ", "local"),
    ],
)  # fmt: skip
def test_other_values(read: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert read(value) == expected


@given(st.integers(0, 2**62))
def test_a_size_reads_as_it_was_shown(nbytes: int) -> None:
    assert parse.size(parse.show_size(nbytes)) == nbytes


@given(st.floats(1e-6, 1e9))
def test_a_length_of_time_reads_as_it_was_shown(duration: float) -> None:
    assert parse.seconds(parse.show_seconds(duration)) == duration
