"""What is known of a batch's results, in memory and as it travels."""

from __future__ import annotations

from typing import Any

import pytest

from cloudbutton_backend.worker.batch_meta import BatchMeta

FULL = BatchMeta(
    started=1700000000.5,
    seconds=2.0,
    cpu=1.5,
    delay=0.25,
    memory_peak=1 << 20,
    ends=[(10, 0), (30, 1)],
    errors={1: {"kind": "unsendable", "item": "7", "type": "Lock", "reason": "cannot"}},
    outputs={4: [("stdout", "hello\n")]},
    changed=["seen"],
    drew=[4],
    early=True,
)


@pytest.mark.parametrize("meta", [BatchMeta(), BatchMeta(seconds=0.5, ends=[]), FULL])
def test_what_is_packed_is_unpacked_as_it_was(meta: BatchMeta) -> None:
    assert BatchMeta.unpacked(meta.packed()) == meta


def test_what_is_not_there_takes_no_room() -> None:
    assert BatchMeta(1.0, 2.0, 3.0).packed() == {"t": 1.0, "dt": 2.0, "cpu": 3.0}


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        ({"t": 0.0, "dt": 0.5, "cpu": 0.1, "rss": 7}, BatchMeta(0.0, 0.5, 0.1, memory_peak=7)),
        ({}, BatchMeta()),
        ({"dt": 0.5, "errors": None, "a later key": 1}, BatchMeta(seconds=0.5)),
    ],
    ids=["the version before", "nothing", "a later version"],
)
def test_what_other_versions_packed_can_be_read(
    packed: dict[str, Any], expected: BatchMeta
) -> None:
    assert BatchMeta.unpacked(packed) == expected
