"""What tasks see of the notebook's values, and what comes back of what they print and draw."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.worker.output import MAX_DISPLAYS, MAX_ITEM

counts = {"calls": 0}
factor = 1


def scaled(x: int) -> int:
    return x * factor


def shown(job: cloud.Job) -> list[str]:
    """Return what each item printed."""
    return ["".join(str(o.data) for o in each.outputs) for each in job.outcomes()]


def test_each_run_carries_the_values_of_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = [1, 5, -2]
    jobs = []
    for value in factors:
        monkeypatch.setitem(globals(), "factor", value)
        jobs.append(cloud.map(scaled, [1, 2]))
    assert [job.results() for job in jobs] == [[f, 2 * f] for f in factors]


def test_a_large_array_is_shared_and_says_what_to_do_where_it_is_written_to() -> None:
    big = np.zeros(200_000)

    def writes(x: int) -> float:
        big[x] = 1.0
        return float(big.sum())

    def copies(x: int) -> float:
        own = big.copy()
        own[x] = 1.0
        return float(own.sum())

    with pytest.raises(ValueError, match="read-only") as caught:
        cloud.map(writes, range(3)).results()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "shared by all workers" in text and "x = x.copy()" in text
    assert cloud.map(copies, range(3)).results() == [1.0] * 3
    assert not cloud.map(lambda _: big.flags.owndata or big.flags.writeable, [0]).results()[0]


def test_an_object_with_a_cached_property_travels_both_ways() -> None:
    class Circle:
        def __init__(self, radius: int) -> None:
            self.radius = radius

        @functools.cached_property
        def area(self) -> int:
            return 3 * self.radius**2

    (circle,) = cloud.map(lambda c: c if c.area == 12 else None, [Circle(2)]).results()
    assert type(circle) is Circle and vars(circle) == {"radius": 2, "area": 12}
    assert Circle(3).area == 27


def test_changing_a_captured_value_is_pointed_out_once() -> None:
    def remembers(x: int) -> int:
        counts["calls"] += 1
        return x

    job = cloud.map(remembers, range(200))
    assert job.results() == list(range(200)) and counts == {"calls": 0}
    (warning,) = job.progress.warnings
    assert "`counts`" in warning and "\n" not in warning
    quiet = cloud.map(remembers, range(20), guard="off")
    quiet.results()
    assert quiet.progress.warnings == ()


def test_changing_a_default_is_pointed_out_whatever_its_kind() -> None:
    def plain(x: int, seen: dict[int, int] = {}) -> int:  # noqa: B006
        seen[x % 3] = x
        return len(seen)

    def keyword_only(x: int, *, seen: dict[int, int] = {}) -> int:  # noqa: B006
        seen[x % 3] = x
        return len(seen)

    for function in (plain, keyword_only):
        job = cloud.map(function, range(20))
        job.results()
        (warning,) = job.progress.warnings
        assert f"`seen (default of {function.__name__})`" in warning


def test_a_decorated_function_a_partial_and_a_method_travel() -> None:
    class Model:
        def __init__(self, weight: int) -> None:
            self.weight = weight

        def predict(self, x: int) -> int:
            return self.weight * x

    @functools.lru_cache
    def cached(x: int) -> int:
        return x + 1

    assert cloud.map(Model(3).predict, [1, 2]).results() == [3, 6]
    assert cloud.map(functools.partial(pow, 2), [3, 4]).results() == [8, 16]
    assert cloud.map(cached, [1, 1]).results() == [2, 2]


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 2}, {"workers": 3}])
def test_random_numbers_depend_on_seed_and_item_alone(options: dict[str, Any]) -> None:
    def draw(n: int) -> tuple[float, list[float]]:
        first = cloud.rng().random()
        return first, list(cloud.rng().random(n % 3))

    expected = []
    for index in range(60):
        sequence = np.random.SeedSequence(entropy=7, spawn_key=(index,))
        generator = np.random.Generator(np.random.PCG64(sequence))
        expected.append((generator.random(), list(generator.random(index % 3))))
    assert cloud.map(draw, range(60), seed=7, **options).results() == expected


def test_without_a_seed_each_job_draws_its_own() -> None:
    draws = [cloud.map(lambda _: cloud.rng().random(), [0]).results()[0] for _ in range(2)]
    assert draws[0] != draws[1]


def test_outside_a_task_rng_is_a_generator_that_goes_on() -> None:
    first, second = cloud.rng().random(), cloud.rng().random()
    assert first != second and cloud.rng() is cloud.rng()


def test_what_items_print_comes_back_by_item_in_order() -> None:
    def task(x: int) -> None:
        import sys

        print("item", x)
        print("to stderr", file=sys.stderr)
        warnings.warn(f"careful with {x}", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("default")  # tasks have the filters of this process
        texts = shown(cloud.map(task, range(40)))
    assert len(texts) == 40
    for x, text in enumerate(texts):
        assert (
            text.startswith(f"item {x}\nto stderr\n") and f"UserWarning: careful with {x}" in text
        )


def test_what_subprocesses_print_comes_back() -> None:
    def task(x: int) -> None:
        import subprocess
        import sys

        subprocess.run([sys.executable, "-S", "-c", f"print('child of', {x})"], check=True)

    assert "".join(shown(cloud.map(task, [1, 2]))).count("child of") == 2


def test_output_is_bounded_and_says_so() -> None:
    def task(_: int) -> None:
        from IPython.display import display

        for _ in range(100):
            print("x" * 10_000)
        for n in range(50):
            display(n)

    (outcome,) = cloud.map(task, [0]).outcomes()
    text = "".join(str(o.data) for o in outcome.outputs if o.kind == "stdout")
    assert len(text) < MAX_ITEM + 100 and "cut after 256 KiB" in text
    assert sum(o.kind == "display" for o in outcome.outputs) == MAX_DISPLAYS


class Rich:
    def _repr_html_(self) -> str:
        return "<b>rich</b>"


def test_displayed_objects_come_back_with_all_their_forms() -> None:
    def task(_: int) -> None:
        from IPython.display import display

        display(Rich())

    (outcome,) = cloud.map(task, [0]).outcomes()
    (bundle,) = [o.data["data"] for o in outcome.outputs if isinstance(o.data, dict)]
    assert bundle["text/html"] == "<b>rich</b>" and "Rich" in bundle["text/plain"]


def test_figures_come_back_when_they_are_shown() -> None:
    def task(x: int) -> str:
        import matplotlib.pyplot as plt

        plt.plot([0, x])
        plt.show()
        return plt.get_backend()

    outcomes = list(cloud.map(task, range(2)).outcomes())
    for outcome in outcomes:
        (bundle,) = [o.data["data"] for o in outcome.outputs if isinstance(o.data, dict)]
        assert bundle["image/png"].startswith("iVBOR")  # the signature of a PNG, in base64
