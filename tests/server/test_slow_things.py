"""What the endpoints share: nothing slow is in the way of the rest, or of the server's end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudbutton_ext.server.context import ServerContext
from cloudbutton_ext.server.public_paths import PublicPaths

PATIENCE = 20.0


def test_jobs_are_read_while_many_slow_things_are_under_way(tmp_path: Path) -> None:
    gate = threading.Event()

    async def look() -> int:
        context = ServerContext(PublicPaths(tmp_path))
        slow = [
            asyncio.create_task(context.run_in_own_thread(gate.wait, PATIENCE)) for _ in range(20)
        ]
        try:
            return await asyncio.wait_for(context.run_in_thread(lambda: 7), PATIENCE / 2)
        finally:
            gate.set()
            await asyncio.gather(*slow)

    assert asyncio.run(look()) == 7


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [("1 / 0", ZeroDivisionError, "division"), ("__import__('sys').exit(3)", RuntimeError, "3")],
)
def test_what_goes_wrong_apart_is_raised_where_it_is_awaited(
    code: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    async def look() -> None:
        await ServerContext(PublicPaths(tmp_path)).run_in_own_thread(eval, code)

    with pytest.raises(kind, match=words):
        asyncio.run(look())


def test_the_server_ends_while_a_backend_hangs() -> None:
    script = (
        "import asyncio, threading\n"
        "from pathlib import Path\n"
        "from cloudbutton_ext.server.context import ServerContext\n"
        "from cloudbutton_ext.server.public_paths import PublicPaths\n"
        "begun = threading.Event()\n"
        "def hang():\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "async def serve():\n"
        "    context = ServerContext(PublicPaths(Path.cwd()))\n"
        "    context.share_task('health', lambda: context.run_in_own_thread(hang))\n"
        "    while not begun.is_set():\n"
        "        await asyncio.sleep(0.01)\n"
        "asyncio.run(serve())\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)
