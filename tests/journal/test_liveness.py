from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from cloudbutton_backend.journal.liveness import is_alive, start_token

HERE = "boot-1 pid:[1] "
ELSEWHERE = "boot-1 pid:[2] "
BEFORE = "boot-0 pid:[1] "

#: token, token now, reader's own, same host, silence -> alive
CASES: dict[str, tuple[str, str, str, bool, float, bool]] = {
    "the same process": (HERE + "5", HERE + "5", HERE + "9", True, 0, True),
    "suspended for an hour": (HERE + "5", HERE + "5", HERE + "9", True, 3600, True),
    "gone": (HERE + "5", "", HERE + "9", True, 1, False),
    "its pid taken by another": (HERE + "5", HERE + "7", HERE + "9", True, 1, False),
    "the same pid and tick after a reboot": (BEFORE + "5", HERE + "5", HERE + "9", True, 1, False),
    "in another container, lately": (ELSEWHERE + "5", "", HERE + "9", True, 1, True),
    "in another container, silent": (ELSEWHERE + "5", "", HERE + "9", True, 11, False),
    "on another host, same pid here": (HERE + "5", HERE + "5", HERE + "9", False, 11, False),
    "on another host, lately": (HERE + "5", "", HERE + "9", False, 1, True),
    "no tokens here, lately": ("", "", "", True, 9, True),
    "no tokens here, silent": ("", "", "", True, 11, False),
}


@pytest.mark.parametrize("case", CASES)
def test_liveness_is_told_from_what_can_be_seen(case: str) -> None:
    token, token_now, own, same_host, silence, alive = CASES[case]
    seen: dict[str, Any] = {"token": token, "token_now": token_now, "own_token": own}
    assert is_alive(**seen, same_host=same_host, heartbeat=100.0, now=100.0 + silence) is alive


def test_a_process_keeps_its_token_and_shares_it_with_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        token = start_token(child.pid)
        assert token == start_token(child.pid)
        assert token != start_token(os.getpid())
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_token(child.pid) == ""  # dead, though its parent has not looked yet
    assert start_token(child.pid) == ""
