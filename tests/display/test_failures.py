"""Failed items, grouped."""

from __future__ import annotations

from typing import Any

import pytest

from cloudbutton_backend.errors import WorkerLost
from cloudbutton_magic.display.job_view import failure_groups, item_label, one_line


def raised(kind: type[Exception], message: str, item: object) -> Exception:
    try:
        raise kind(message)
    except kind as error:
        error.cloud_item = item  # type: ignore[attr-defined]
        return error


def elsewhere(item: object) -> Exception:
    try:
        raise ValueError("there")
    except ValueError as error:
        error.cloud_item = item  # type: ignore[attr-defined]
        return error


def test_errors_from_one_line_are_alike_whatever_their_messages() -> None:
    errors = {i: raised(ValueError, f"bad {i}", f"{i}") for i in (5, 3, 9)}
    (group,) = failure_groups(errors, ["C"])
    assert (group.count, group.message, group.first) == (3, "ValueError: bad 3", "item 3: C=3")


def test_groups_come_with_the_most_frequent_first() -> None:
    errors: dict[int, BaseException] = {
        0: raised(KeyError, "k", "0"),
        1: elsewhere("1"),
        2: elsewhere("2"),
        3: raised(ValueError, "v", "3"),
    }
    groups = failure_groups(errors)
    assert [(group.count, group.first) for group in groups] == [
        (2, "item 1: 1"),
        (1, "item 0: 0"),
        (1, "item 3: 3"),
    ]


def test_our_own_errors_keep_the_label_they_carry() -> None:
    error = WorkerLost("item 4: 0.1", "killed by signal 9", 3)
    error.cloud_item = "item 4: 0.1"  # type: ignore[attr-defined]
    (group,) = failure_groups({4: error}, ["x"])
    assert group.first == "item 4: 0.1"


@pytest.mark.parametrize(
    ("item", "targets", "label"),
    [
        ("0.1", ["C"], "item 2: C=0.1"),
        ("(0.1, 3)", ["lr", "depth"], "item 2: lr=0.1, depth=3"),
        ("(np.float64(0.1), 'a, b')", ["lr", "name"], "item 2: lr=0.1, name='a, b'"),
        ("(<Model at 0x7f>, 3)", ["m", "n"], "item 2: (m, n) = (<Model at 0x7f>, 3)"),
        ("((1, 2), 3)", ["a", "b", "c"], "item 2: (a, b, c) = ((1, 2), 3)"),
        ("0.1", [], "item 2: 0.1"),
        (0.1, [], "item 2: 0.1"),
        (None, ["C"], "item 2"),
        ("x" * 500, [], f"item 2: {'x' * 79}…"),
    ],
)
def test_an_item_is_named_as_the_user_knows_it(item: Any, targets: list[str], label: str) -> None:
    assert item_label(2, item, targets) == label


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\nb"), "ValueError: a"),
        (KeyError(), "KeyError"),
        (StopIteration(), "StopIteration"),
    ],
)
def test_an_error_in_one_line(error: BaseException, text: str) -> None:
    assert one_line(error) == text
