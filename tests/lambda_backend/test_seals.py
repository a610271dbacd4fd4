"""What comes back is believed only if it was sealed with the job's key, and nothing of it was changed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.backends.aws_lambda import call_encoding
from cloudbutton_backend.backends.protocol import BackendDown, Results
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.result_file import SegmentWriter, TornRecord, read_records
from cloudbutton_backend.worker.sealed_records import BrokenSeal, open_records, sealed_record
from cloudbutton_backend.worker.wire import layout
from tests.lambda_backend.conftest import clients_of, new_backend, shared_emulator
from tests.lambda_backend.harness import BackendHarness, the

KEY = b"k" * 32


def record(payload: bytes = b"payload", key: bytes = KEY, first: int = 0) -> bytes:
    pieces = sealed_record(7, first, 3, {"t": 1.5}, [payload], len(payload), key)
    return b"".join(bytes(piece) for piece in pieces)


class Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was loaded before its seal was checked",)


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_sealed_records_come_back_as_they_were(payloads: list[bytes]) -> None:
    data = b"".join(record(payload, first=number) for number, payload in enumerate(payloads))
    found = [(each.first, bytes(payload)) for each, payload in open_records(data, KEY, "x")]
    assert found == list(enumerate(payloads))


@given(st.data())
def test_a_changed_bit_is_found_wherever_it_matters(data: st.DataObject) -> None:
    whole = record(b"some payload of a record")
    changed = bytearray(whole)
    at = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed[at // 8] ^= 1 << at % 8
    try:
        ((found, payload),) = open_records(changed, KEY, "x")
    except (BrokenSeal, TornRecord):
        return
    assert (found.first, found.count, found.meta) == (
        0,
        3,
        BatchMeta(started=1.5),
    )  # it was padding
    assert bytes(payload) == b"some payload of a record"


def test_nothing_is_unpickled_before_its_seal_is_found_right() -> None:
    pieces = sealed_record(1, 0, 1, {"x": Bomb()}, [b""], 0, b"another key".ljust(32))
    with pytest.raises(BrokenSeal):
        list(open_records(b"".join(bytes(piece) for piece in pieces), KEY, "x"))


def test_a_record_of_which_only_a_part_is_sealed_is_refused(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path / "plain.seg"), KEY)
    pieces, length = layout([pickle.dumps([1]), b"a buffer"])
    writer.append(1, 0, 1, BatchMeta(), pieces, length)
    writer.close()
    with pytest.raises(BrokenSeal):
        list(open_records((tmp_path / "plain.seg").read_bytes(), KEY, "x"))


def test_sealed_records_can_be_read_as_a_result_file(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    path.write_bytes(record(b"one", first=0) + record(b"a longer two" * 20, first=3))
    found = list(read_records(str(path), KEY))
    assert [(each.batch, each.first, each.length) for each in found] == [(7, 0, 3), (7, 3, 240)]


def test_jobs_have_keys_of_their_own_that_do_not_tell_the_users() -> None:
    one, other = call_encoding.job_key(KEY, "job1"), call_encoding.job_key(KEY, "job2")
    assert one != other and KEY not in (one, other)


# -- on the way


def test_a_forged_result_in_storage_is_an_error_that_names_the_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cloudbutton_backend.backends.aws_lambda.bucket import Bucket

    plain = Bucket.get

    async def get(self: Bucket, key: str, nbytes: int = 0) -> bytes:
        data = bytearray(
            await plain(self, key, nbytes)
        )  # what another user with write access leaves
        data[len(data) // 2] ^= 1
        return bytes(data)

    monkeypatch.setattr(Bucket, "get", get)
    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(lambda n: bytes(n))
        events = harness.run(spec, [5 << 20])
    cause = the(BackendDown, events).cause
    assert f"jobs/{spec.id}/results/" in cause and "seal" in cause
    assert not [event for event in events if isinstance(event, Results)]


def test_a_captured_value_that_was_changed_in_storage_is_not_used() -> None:
    table = os.urandom(300_000)
    with BackendHarness(new_backend(shared_emulator())) as harness:
        spec = harness.open(lambda at: table[at])
        (sha256,) = [found[0] for found in harness.backend._lambda_calls._uploads._known.values()]
        clients = clients_of(shared_emulator())
        bucket = f"cloudbutton-{clients.account}-{clients.region}"
        clients.client("s3").put_object(
            Bucket=bucket, Key=f"blobs/{sha256}", Body=bytes(300_000 + 128)
        )
        events = harness.run(spec, [0])
    assert sha256[:12] in the(BackendDown, events).cause
