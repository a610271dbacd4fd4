"""Objects that raise when they are looked at: a good cell never fails because of the button."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_magic.analysis import Namespace, NotIndependent, analyse, find_loops
from cloudbutton_magic.button import plan

from .compare import run_twice
from .process import Process

LOOKS = (
    "__bool__", "__class__", "__contains__", "__dict__", "__dir__", "__eq__", "__format__",
    "__getattr__", "__getattribute__", "__getstate__", "__hash__", "__iter__", "__len__",
    "__reduce_ex__", "__repr__", "__sizeof__", "__str__",
)  # fmt: skip
RAISED = ("AttributeError", "KeyError", "RuntimeError", "TypeError", "SystemExit")
USES = {
    "captured": "out = [h.get(i) for i in range(8)]",
    "in a loop": "out = []\nfor i in range(8):\n    out.append(h.get(i))",
    "as items": "out = [type(x).__name__ for x in [h, h, h, h]]",
    "as results": "made = [h for i in range(6)]\nout = len(made)\ndel made",
    "in a dict": "d = {'a': h}\nout = [d['a'].get(i) for i in range(5)]\ndel d",
}


SETUP = """
class Hostile:
    def get(self, i):
        return i * 2
    def {name}(self, *args, **kwargs):
        if {look!r} == "__getattribute__" and args[0] == "get":
            return object.__getattribute__(self, "get")
        raise {raised}({look!r})
    if {look!r} in ("__class__", "__dict__"):
        {look} = property({name})
h = Hostile()
"""


def setup(look: str, raised: str) -> str:
    """Return code that binds `h` to an object whose method `look` raises; its `get` works as ever."""
    return SETUP.format(look=look, name=look, raised=raised)


def hostile(look: str, raised: str) -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(setup(look, raised), names)
    return names["h"]


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with closing(Process()) as running:
        yield running


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@settings(max_examples=25, deadline=None)
@given(look=st.sampled_from(LOOKS), raised=st.sampled_from(RAISED[:-1]))
def test_the_button_leaves_what_the_plain_cell_leaves(
    use: str, look: str, raised: str, process: Process
) -> None:
    plain, sent = run_twice(setup(look, raised), use, process)
    assert (sent.error, plain.error) == (None, None)
    assert sent.namespace["out"] == plain.namespace["out"]


@pytest.mark.parametrize("raised", RAISED[1:])  # `isinstance` takes AttributeError for an answer
def test_the_reason_names_the_object(raised: str) -> None:
    h = hostile("__class__", raised)
    (loop,) = find_loops(ast.parse("out = [h.get(i) for i in range(8)]"))
    verdict = analyse(loop, Namespace({"h": h}))
    assert isinstance(verdict, NotIndependent)
    assert f"uses `h`, which raised {raised} when the button looked at it" in str(verdict)


def test_a_dry_run_says_so_and_does_not_fail() -> None:
    cell = plan(ast.parse(USES["captured"]), {"h": hostile("__class__", "KeyError")})
    assert "raised KeyError" in cell.source()


def test_an_interrupt_is_the_users_and_goes_through() -> None:
    (loop,) = find_loops(ast.parse("out = [h.get(i) for i in range(8)]"))

    def interrupted(self: Any) -> Any:
        raise KeyboardInterrupt

    h = type("Slow", (), {"get": len, "__class__": property(interrupted)})()
    with pytest.raises(KeyboardInterrupt):
        analyse(loop, Namespace({"h": h}))
