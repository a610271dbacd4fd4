"""The same handlers give the same answers under AWS's own Runtime Interface Emulator."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda import call_encoding
from cloudbutton_backend.backends.aws_lambda.function_archive import HANDLER, function_zip
from cloudbutton_backend.backends.protocol import BatchCall
from cloudbutton_backend.capture import dump_items
from cloudbutton_backend.worker.aws_lambda.call_wire import inline_part
from cloudbutton_backend.worker.wire import layout, split
from tests.lambda_backend.harness import spec_of

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


def _divide(x: int) -> tuple[int, int]:
    print(f"dividing by {x}")
    return divmod(100, x)


def _call(key: bytes, items: list[Any]) -> Any:
    """Return a call as the Lambda backend sends it."""
    spec = spec_of(_divide)
    pieces, _ = layout(dump_items(items))
    call = BatchCall(1, spec.id, "lambda-0", 0, len(items), [], None)
    job = call_encoding.job_json(spec, key, inline_part(bytes(spec.payload)), {}, "", [])
    return spec.id, json.loads(
        call_encoding.call_json(job, call, inline_part(b"".join(pieces)), "", detached=False)
    )


def test_the_deployed_package_gives_the_same_results_under_both(
    account: Account, tmp_path: Path
) -> None:
    archive = function_zip(f"{sys.version_info.major}.{sys.version_info.minor}")
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        opened.extractall(tmp_path)
    key = b"k" * 32
    job, event = _call(key, [1, 7, 0, 9])
    with _under_aws_s_emulator(tmp_path, HANDLER) as url:
        theirs = _ask(url, event)
    ours = account.invoke(account.package(archive, HANDLER), event).body
    seen = []
    for answer in (ours, theirs):
        results, ending = call_encoding.read_records(
            call_encoding.records_in(answer), key, job, "w"
        )
        assert ending is not None
        seen.append(
            [
                [
                    (r.first, r.count, pickle.loads(split(memoryview(r.payload))[0]))
                    for r in results
                ],
                [error["links"][0]["type"] for r in results for error in r.meta.errors.values()],
            ]
        )
    assert seen[0] == seen[1]
    assert "ZeroDivisionError" in seen[0][1]
