"""How errors are drawn by IPython."""

from __future__ import annotations

import dataclasses
import pickle
import traceback

import pytest
from IPython.core.interactiveshell import InteractiveShell

from cloudbutton_backend.errors import UsageError
from cloudbutton_magic.kernel.error_display import PlainErrors, user_traceback, without_own_frames


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """An exception on which nothing can be set."""

    code: int


def drawn(error: BaseException) -> str:
    return "\n".join(error._render_traceback_())  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [ValueError("no"), Frozen(3)])
def test_the_users_error_passes_unchanged_and_can_still_travel(
    shell: InteractiveShell, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught, PlainErrors(shell):
        raise error
    assert caught.value is error
    assert type(error).__name__ in drawn(error)
    assert not hasattr(error, "_render_traceback_"), "drawn once, then gone"
    pickle.dumps(error)


def test_our_advice_has_no_traceback(shell: InteractiveShell) -> None:
    with pytest.raises(UsageError) as caught, PlainErrors(shell):
        raise UsageError("Do this.")
    assert drawn(caught.value) == "UsageError: Do this."


def test_our_frames_above_the_users_are_left_out() -> None:
    ours: dict[str, object] = {"__name__": "cloudbutton_magic.somewhere"}
    exec("def call(f):\n    f()", ours)

    def users() -> None:
        raise KeyError

    try:
        ours["call"](users)  # type: ignore[operator]
    except KeyError as error:
        own = error.__traceback__
    assert own is not None
    assert own.tb_next is not None
    below = user_traceback(own.tb_next)
    assert below is not None
    assert below.tb_frame.f_code.co_name == "users"


def test_an_error_of_ours_alone_has_no_users_part() -> None:
    assert user_traceback(None) is None


def test_frames_of_ours_that_failed_themselves_are_kept() -> None:
    ours: dict[str, object] = {"__name__": "cloudbutton_magic.somewhere"}
    exec("def call(f):\n    f()\ndef fail():\n    raise KeyError", ours)

    def users() -> None:
        ours["fail"]()  # type: ignore[operator]

    try:
        ours["call"](users)  # type: ignore[operator]
    except KeyError as error:
        whole = error.__traceback__
    assert whole is not None
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(without_own_frames(whole))]
    assert names[1:] == ["users", "fail"]
