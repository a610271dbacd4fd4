"""The same handlers give the same answers under AWS's own Runtime Interface Emulator."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .account import Account, eventually

RIE = Path(sys.prefix) / "share" / "cloudbutton" / "aws-lambda-rie"

SOURCE = """
import os, sys, time
def handler(event, context):
    kind, value = event
    if kind == "echo": return value
    if kind == "raise": raise ValueError(value)
    if kind == "exit": os._exit(value)
    if kind == "signal": os.kill(os.getpid(), value)
    if kind == "odd": return {1, 2}
    if kind == "large": return "x" * value
    if kind == "name": return [context.function_version, context.memory_limit_in_mb]
    if kind == "sleep": time.sleep(value)
"""

EVENTS: list[list[Any]] = [
    ["echo", {"text": "ä🙂", "numbers": [1, 2.5, None, True]}],
    ["echo", "x" * 100_000],
    ["raise", "so bad"],
    ["exit", 0],
    ["exit", 7],
    ["signal", 9],
    ["signal", 11],
    ["odd", 0],
    ["large", 6_291_554],
    ["large", 6_291_555],
    ["name", 0],
]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def _under_aws_s_emulator(folder: Path, handler: str, **variables: str) -> Iterator[str]:
    """Run a handler there; yield the address to invoke it."""
    if not RIE.exists():
        pytest.fail(f"There is no {RIE}. Fetch it: {sys.executable} tools/fetch_rie.py")
    front, api = _free_port(), _free_port()
    process = subprocess.Popen(
        [
            str(RIE),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{front}"),
            *("--runtime-api-address", f"127.0.0.1:{api}"),
            *(sys.executable, "-m", "awslambdaric", handler),
        ],
        cwd=folder,
        env={**os.environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", front)) == 0

    try:
        eventually(listens)
        yield f"http://127.0.0.1:{front}/2015-03-31/functions/function/invocations"
    finally:
        process.terminate()
        process.wait(20)


def _ask(url: str, event: Any) -> Any:
    try:
        with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=30) as got:
            body = got.read()
    except urllib.error.HTTPError as error:  # how it tells that the process has died
        with error:
            body = error.read()
    return json.loads(body)


def _comparable(answer: Any) -> str:
    """Return an answer without what differs by nature: ids of requests, folders, sizes."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", json.dumps(answer))
    text = re.sub(r"File [^,]*/(\w+\.py)", r"File \1", text)
    return text.replace(" (6291557 bytes)", "")


def test_every_answer_is_that_of_aws_s_emulator(account: Account, tmp_path: Path) -> None:
    name = account.function(SOURCE)
    (tmp_path / "module.py").write_text(SOURCE)
    with _under_aws_s_emulator(tmp_path, "module.handler") as url:
        theirs = [_comparable(_ask(url, event)) for event in EVENTS]
    ours = [_comparable(account.invoke(name, event).body) for event in EVENTS]
    for event, our, their in zip(EVENTS, ours, theirs):
        assert our == their, f"for {str(event)[:60]}"
