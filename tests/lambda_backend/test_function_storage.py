"""How a function fetches and puts objects by URL, and what it keeps of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cloudbutton_backend.backends.aws_lambda.call_encoding import (
    call_json,
    events_of_end,
    job_json,
    read_records,
    records_in,
)
from cloudbutton_backend.backends.protocol import BatchCall, BatchEnded
from cloudbutton_backend.worker.aws_lambda import handler as lambda_main
from cloudbutton_backend.worker.aws_lambda import storage
from cloudbutton_backend.worker.aws_lambda.call_wire import CallPart, inline_part, stored_part
from cloudbutton_backend.worker.aws_lambda.handler import handler
from cloudbutton_backend.worker.aws_lambda.storage import (
    DeadlineExceeded,
    DigestMismatch,
    FetchedBlobs,
    StorageError,
    fetch,
    upload,
)
from cloudbutton_backend.worker.call_end import CallReport
from tests.lambda_backend.harness import spec_of


class Store:
    """Objects over HTTP. `script` has what happens to the next requests, instead of an answer."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.script: list[int | str] = []
        self.asked: list[str] = []
        self.released = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.asked.append(f"GET {self.path}")
                data = store.objects.get(self.path, b"")
                wanted = store.script.pop(0) if store.script else 200
                if wanted in ("cut", "slow"):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    if wanted == "slow":
                        store.released.wait(20)
                    return
                assert isinstance(wanted, int)
                self.send_response(wanted if self.path in store.objects else 404)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_PUT(self) -> None:
                store.asked.append(f"PUT {self.path}")
                data = self.rfile.read(int(self.headers["Content-Length"]))
                wanted = store.script.pop(0) if store.script else 200
                assert isinstance(wanted, int)
                if self.headers.get("If-None-Match") == "*" and self.path in store.objects:
                    wanted = 412
                if wanted == 200:
                    store.objects[self.path] = data
                self.send_response(wanted)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def holds(self, name: str, data: bytes) -> CallPart:
        self.objects[f"/{name}"] = data
        return CallPart(None, hashlib.sha256(data).hexdigest(), len(data), self.url(name))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = Store()
    yield store
    store.released.set()
    store.server.shutdown()
    store.server.server_close()


def test_what_comes_with_the_call_is_not_fetched() -> None:
    assert fetch(CallPart(b"here")) == b"here"


@pytest.mark.parametrize("script", [[], [500], [503, 500], ["cut"], ["cut", 500, "cut"]])
def test_an_object_is_fetched_whatever_passes(store: Store, script: list[Any]) -> None:
    wanted = store.holds("object", os.urandom(3_000_000))
    store.script = list(script)
    blobs = FetchedBlobs(10_000_000)
    assert fetch(wanted) == store.objects["/object"]
    store.script = list(script)
    fd = blobs.fetched(wanted)
    assert os.pread(fd, wanted.nbytes + 1, 0) == store.objects["/object"]


@pytest.mark.parametrize("get", [fetch, lambda wanted: FetchedBlobs(1 << 20).fetched(wanted)])
def test_an_object_that_is_not_what_it_is_named_for_is_refused(
    store: Store, get: Callable[[CallPart], Any]
) -> None:
    wanted = store.holds("object", b"genuine")
    store.objects["/object"] = b"another"
    with pytest.raises(DigestMismatch, match=wanted.sha256[:12]):
        get(wanted)


def test_an_object_that_is_not_there_is_trouble_at_once(store: Store) -> None:
    wanted = store.holds("object", b"x")
    del store.objects["/object"]
    with pytest.raises(StorageError, match="404"):
        fetch(wanted)
    assert len(store.asked) == 1


def test_environments_that_were_refused_together_do_not_come_back_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = store.holds("object", b"x")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for _ in range(5):
        store.script = [503]
        fetch(wanted)
    assert len(set(waits)) == 5 and all(0.1 <= wait <= 0.5 for wait in waits)


def test_results_that_are_there_already_stay(store: Store) -> None:
    upload(store.url("result"), [b"fir", b"st"], 5, once=True)
    upload(store.url("result"), [b"second"], 6, once=True)
    assert store.objects["/result"] == b"first"


def test_putting_is_tried_again(store: Store) -> None:
    store.script = [500, 503]
    upload(store.url("result"), [b"data"], 4)
    assert store.objects["/result"] == b"data" and len(store.asked) == 3


def test_an_object_is_fetched_once_and_kept(store: Store) -> None:
    blobs, wanted = FetchedBlobs(1 << 20), store.holds("object", b"x" * 1000)
    assert blobs.fetched(wanted) == blobs.fetched(wanted)
    assert store.asked == ["GET /object"]


def test_what_was_not_used_for_longest_makes_room(store: Store) -> None:
    blobs = FetchedBlobs(2500)
    one, two, three = (store.holds(f"object{n}", bytes([n]) * 1000) for n in range(3))
    for each in (one, two, one):
        blobs.fetched(each)
    assert blobs.make_room([three]) == [two.sha256]
    blobs.fetched(three)
    assert blobs.make_room([one, three]) == []


def test_what_a_call_needs_is_kept_even_beyond_the_room(store: Store) -> None:
    blobs, wanted = FetchedBlobs(10), store.holds("object", b"x" * 1000)
    assert blobs.make_room([wanted]) == []
    fd = blobs.fetched(wanted)
    assert os.pread(fd, wanted.nbytes, 0) == b"x" * 1000


def test_an_object_goes_into_memory_where_others_have_filled_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, wanted = FetchedBlobs(10_000), store.holds("object", b"x" * 1000)
    monkeypatch.setattr(storage, "_free_bytes", lambda: 999)
    fd = blobs.fetched(wanted)
    assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:")
    assert os.pread(fd, wanted.nbytes, 0) == b"x" * 1000


@pytest.mark.parametrize(
    "get", [fetch, lambda wanted, until: FetchedBlobs(1 << 20).fetched(wanted, until)]
)
def test_fetching_ends_with_the_time_that_the_call_has(
    store: Store, get: Callable[[CallPart, float], Any]
) -> None:
    wanted = store.holds("object", b"x" * 1000)
    store.script = ["slow"]
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="1,000 bytes"):
        get(wanted, begin + 0.3)
    assert time.monotonic() - begin < 5 and len(store.asked) == 1


class Context:
    """What the platform tells a function about a call."""

    memory_limit_in_mb = "1769"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def answer_to(store: Store, function: CallPart, lease: float | None) -> CallReport:
    """Return how the function says that a call ended."""
    call = BatchCall(1, "job", "lambda-0", 0, 3, [], lease=lease)
    code = stored_part(function.sha256, function.nbytes, function.url)
    job = job_json(spec_of(len), b"key", code, {}, store.url("stop"), ())
    event = json.loads(
        call_json(job, call, inline_part(b"items"), store.url("answer"), detached=False)
    )
    answer = handler(event, Context())
    results, report = read_records(records_in(answer), b"key", "answer", "lambda-0")
    assert not results and report is not None
    assert events_of_end(call, report.end, 1769, 900.0) == [
        BatchEnded("lambda-0", 1, 0, unreadable=False, expired=report.end.why == "lease")
    ]
    return report


def test_a_lease_that_does_not_suffice_for_fetching_ends_the_call_and_is_no_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_main, "_start", 0.0)
    store.script = ["slow"]
    begin = time.monotonic()
    report = answer_to(store, store.holds("function", b"x" * 1000), lease=0.5)
    assert report.end.why == "lease" and time.monotonic() - begin < 5


def test_what_an_environment_took_to_start_is_said_with_its_first_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_main, "_start", 100.0)
    gone = store.holds("function", b"x")
    del store.objects["/function"]
    assert 100.0 <= answer_to(store, gone, lease=None).seconds < 150.0
    assert answer_to(store, gone, lease=None).seconds < 50.0
