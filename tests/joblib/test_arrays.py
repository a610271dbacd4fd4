"""A large array travels once, and a task can do no harm with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed, parallel_config

import cloudbutton_ext as cloud
from cloudbutton_backend.capture import CannotTravel
from cloudbutton_ext.integrations.joblib.array_sharing import ArrayPacker, ArraySharing

pytestmark = pytest.mark.usefixtures("on_ours")

MEDIUM = 100_000  # bytes: shared, but each task's own
LARGE = 2_000_000


def ones(nbytes: int) -> Any:
    return np.ones(nbytes // 8)


def add_one(array: Any) -> float:
    array += 1
    return float(array[0])


def about(array: Any) -> tuple[str, bool, float]:
    return type(array).__name__, bool(array.flags.writeable), float(array.sum())


class Model:
    def __init__(self, weights: Any) -> None:
        self.weights = weights


ARRAYS = {
    "array": lambda: np.arange(20_000.0),
    "columns first": lambda: np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    "every other": lambda: np.arange(40_000.0)[::2],
    "backwards": lambda: np.arange(20_000.0)[::-1],
    "integers": lambda: np.arange(20_000).reshape(10, 20, 100),
    "dates": lambda: np.arange(20_000).astype("datetime64[s]"),
    "records": lambda: np.zeros(20_000, dtype=[("name", "U3"), ("value", "f8")]),
    "other byte order": lambda: np.arange(20_000, dtype=">f8"),
    "truths": lambda: np.arange(100_000) % 3 == 0,
    "read-only": lambda: np.frombuffer(bytes(100_000), dtype="u1"),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("max_nbytes", [None, "1K"])
def test_an_array_arrives_as_it_is(name: str, max_nbytes: Any) -> None:
    array = ARRAYS[name]()
    parallel = Parallel(n_jobs=2, batch_size=1, max_nbytes=max_nbytes)
    for arrived in parallel(delayed(np.array)(array) for _ in range(3)):
        assert arrived.dtype == array.dtype and np.array_equal(arrived, array)


def test_what_holds_an_array_arrives_too() -> None:
    table = pd.DataFrame({"a": np.arange(50_000.0), "b": np.arange(50_000)})
    model = Model(np.arange(50_000.0))
    found = Parallel(n_jobs=2, batch_size=1)(
        delayed(lambda table, model: (table.a.sum(), table.b.sum(), model.weights.sum()))(
            table, model
        )
        for _ in range(3)
    )
    total = sum(range(50_000))
    assert found == [(total, total, total)] * 3


@pytest.mark.parametrize(
    ("nbytes", "options", "writable"),
    [
        (MEDIUM, {}, True),
        (LARGE, {}, False),
        (LARGE, {"mmap_mode": "c"}, True),
        (LARGE, {"mmap_mode": None}, True),
        (LARGE, {"max_nbytes": None}, True),
        (LARGE, {"max_nbytes": "3M"}, True),
        (MEDIUM, {"max_nbytes": 1000}, False),
    ],
)
def test_max_nbytes_and_mmap_mode_say_who_may_write(
    nbytes: int, options: dict[str, Any], writable: bool
) -> None:
    array = ones(nbytes)
    tasks = [delayed(add_one)(array) for _ in range(6)]
    parallel = Parallel(n_jobs=2, batch_size=1, **options)
    if writable:
        assert parallel(tasks) == [2.0] * 6  # no task sees what another has written
    else:
        with pytest.raises(ValueError, match="read-only"):
            parallel(tasks)
    assert array[0] == 1


def test_within_a_task_one_array_is_one_array() -> None:
    array = ones(MEDIUM)
    assert all(Parallel(n_jobs=2)(delayed(lambda a, b: a is b)(array, array) for _ in range(3)))


def test_an_array_changed_between_batches_is_another() -> None:
    packer = ArrayPacker(ArraySharing())
    array = ones(LARGE)
    packer.pack([array], "")
    array[:] = 7
    packed, more = packer.pack([array], "")
    assert not more and [len(buffer.raw()) for buffer in packed.buffers] == [LARGE]


def test_a_search_sends_its_data_once() -> None:
    array = ones(LARGE)
    Parallel(n_jobs=2, batch_size=1)(delayed(math.fsum)(array[:5]) for _ in range(1))
    before = set(cloud.jobs())
    Parallel(n_jobs=2, batch_size=1)(delayed(about)(array) for _ in range(20))
    (job,) = set(cloud.jobs()) - before
    assert job.explain().blobs_nbytes == pytest.approx(LARGE, rel=0.01)
    packer = ArrayPacker(ArraySharing())
    sizes = [packer.pack([(about, (array,), {})], "")[0] for _ in range(3)]
    assert all(not packed.buffers and len(packed.stream) < 10_000 for packed in sizes)


def test_an_array_that_comes_later_is_shared_from_the_second_time_on() -> None:
    packer = ArrayPacker(ArraySharing())
    first, later = ones(MEDIUM), ones(MEDIUM) * 2
    assert packer.pack([first], "")[1] is True
    told = [packer.pack([first, later], "") for _ in range(3)]
    assert [len(packed.buffers) for packed, _ in told] == [1, 0, 0]
    assert [more for _, more in told] == [False, True, False]
    each = [packer.pack([ones(MEDIUM) * n], "")[1] for n in range(3, 300)]
    assert not any(each) and len(packer.shared) == 2


def test_an_array_changed_after_it_was_shared_does_not_come_back_in_its_place() -> None:
    packer = ArrayPacker(ArraySharing())
    array = ones(MEDIUM)
    original, another = array.copy(), array * 2
    packer.pack([array], "")
    array[:] = 7
    for _ in range(2):
        packer.pack([array, another], "")
    assert {float(each[0]) for each in packer.shared.values()} == {2.0, 7.0}
    packed, _ = packer.pack([original], "")
    assert packed.load(packer.shared.__getitem__)[0][0] == 1.0  # type: ignore[index]


def test_calls_with_more_and_more_data_have_right_results() -> None:
    arrays = [ones(MEDIUM) * n for n in range(8)]
    found = Parallel(n_jobs=2, batch_size=1)(
        delayed(lambda *some: [float(a[0]) for a in some])(*arrays[: n // 3]) for n in range(24)
    )
    assert found == [list(map(float, range(n // 3))) for n in range(24)]


# -- arrays in files


def mapped(path: Path, mode: Any, count: int = 30_000) -> Any:
    if not path.exists():
        np.arange(float(count)).tofile(path)
    return np.memmap(path, dtype="f8", mode=mode, offset=80, shape=(count - 10,))


def write(array: Any, n: int) -> None:
    array[n] = -n


@pytest.mark.parametrize("count", [40, 30_000])
def test_what_tasks_write_to_a_file_of_yours_is_in_it(tmp_path: Path, count: int) -> None:
    array = mapped(tmp_path / "data", "r+", count)
    Parallel(n_jobs=2)(delayed(write)(array, n) for n in range(1, 9))
    Parallel(n_jobs=2)(delayed(write)(array[10::2], n) for n in range(1, 9))
    Parallel(n_jobs=2)(delayed(write)(np.asarray(array)[29::-1], n) for n in range(1, 3))
    expected = np.arange(10.0, count)
    for n in range(1, 9):
        expected[n] = -n
        expected[10 + 2 * n] = -n
    for n in range(1, 3):
        expected[29 - n] = -n
    assert np.array_equal(array, expected)


@pytest.mark.parametrize(("mode", "writable"), [("r", False), ("c", True)])
def test_a_file_opened_for_reading_stays_as_it_is(
    tmp_path: Path, mode: str, writable: bool
) -> None:
    array = mapped(tmp_path / "data", mode)
    kept = (tmp_path / "data").read_bytes()
    found = Parallel(n_jobs=2)(delayed(lambda a: bool(a.flags.writeable))(array) for _ in range(3))
    assert found == [writable] * 3
    sums = Parallel(n_jobs=2)(delayed(np.sum)(array.reshape(-1, 10)[:, 3]) for _ in range(3))
    assert sums == [array.reshape(-1, 10)[:, 3].sum()] * 3
    assert (tmp_path / "data").read_bytes() == kept


def test_where_workers_do_not_see_the_file_reading_works_and_writing_is_refused(
    tmp_path: Path,
) -> None:
    far = ArraySharing(shares_files=False)
    array = mapped(tmp_path / "data", "r")
    packer = ArrayPacker(far)
    packed, _ = packer.pack([array], "")
    assert not packed.buffers
    (sent,) = packer.shared.values()
    assert type(sent) is np.ndarray and np.array_equal(sent, array)
    with pytest.raises(CannotTravel, match="mapped for writing"):
        ArrayPacker(far).pack([mapped(tmp_path / "data", "r+")], "")


def test_a_file_that_is_gone_still_has_its_content(tmp_path: Path) -> None:
    array = mapped(tmp_path / "data", "r")
    (tmp_path / "data").unlink()
    with parallel_config("cloudbutton", n_jobs=2):
        assert Parallel()(delayed(np.sum)(array) for _ in range(2)) == [array.sum()] * 2


@pytest.mark.parametrize("mmap_mode", ["r", "c"])
@pytest.mark.parametrize("size", [20, 200, 700])
def test_an_array_of_any_layout_is_summed_there_as_here(mmap_mode: str, size: int) -> None:
    square = np.random.default_rng(size).normal(size=(size, size))
    layouts = [square[:, :-1], square.T[::2], square[::-1], np.ascontiguousarray(square[:, :-1])]
    with parallel_config("cloudbutton", n_jobs=2, mmap_mode=mmap_mode):
        found = Parallel()(delayed(np.sum)(array) for array in layouts * 2)
    assert found == [np.sum(array) for array in layouts * 2]
