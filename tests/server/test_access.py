from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from cloudbutton_backend.journal import Journal
from cloudbutton_ext.server.extension import ENDPOINTS

from .conftest import a_job

Loop = asyncio.AbstractEventLoop

#: Method and path of everything there is; those behind one pattern once for each verb.
EVERYTHING = [
    ("GET", "jobs"),
    ("GET", "jobs/abcd2345"),
    ("GET", "jobs/abcd2345/batches"),
    ("GET", "jobs/abcd2345/errors"),
    ("GET", "jobs/abcd2345/log"),
    ("GET", "jobs/abcd2345/report"),
    ("POST", "jobs/abcd2345/cancel"),
    ("POST", "jobs/abcd2345/retry"),
    ("GET", "commands/1"),
    ("GET", "backends"),
    ("GET", "backends/local/health"),
    ("POST", "backends/local/test"),
    ("GET", "settings"),
    ("PUT", "settings"),
    ("GET", "spend"),
    ("GET", "estimate"),
    ("GET", "changes"),
    ("GET", "no-such-thing"),
    ("POST", "no-such-thing"),
]
WRITING = [path for method, path in EVERYTHING if method != "GET"]

NO_TOKEN = {"Authorization": ""}


def fetch(loop: Loop, jp_fetch: Any, path: str, **more: Any) -> Any:
    """Return the answer, also one that refuses."""
    try:
        return loop.run_until_complete(jp_fetch("cloudbutton", "api", path, **more))
    except HTTPClientError as error:
        return error.response


def test_the_table_names_every_endpoint() -> None:
    patterns = {pattern for pattern, _ in ENDPOINTS}
    reached = {
        next(pattern for pattern, _ in ENDPOINTS if re.fullmatch(pattern, path))
        for _, path in EVERYTHING
    }
    assert reached == patterns


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
def test_without_a_token_everything_is_forbidden(
    method: str, path: str, jp_fetch: Any, jp_asyncio_loop: Loop, journal: Journal
) -> None:
    journal.add_job(a_job())
    assert journal.flush(10)
    more = {} if method == "GET" else {"body": "{}"}
    answer = fetch(jp_asyncio_loop, jp_fetch, path, method=method, headers=NO_TOKEN, **more)
    assert answer.code == 403
    assert b"abcd2345" not in answer.body


@pytest.fixture
def browser(jp_fetch: Any, jp_asyncio_loop: Loop, jp_serverapp: Any) -> dict[str, str]:
    """Return the headers of a browser that has logged in with the token, and has it no more."""
    token = jp_serverapp.identity_provider.token
    return {**NO_TOKEN, "Cookie": _header(cookies_of(jp_asyncio_loop, jp_fetch, token))}


def open_socket(loop: Loop, port: int, base_url: str, headers: dict[str, str]) -> Any:
    url = f"ws://127.0.0.1:{port}{base_url}cloudbutton/api/changes"

    async def connect() -> Any:
        return await websocket_connect(HTTPRequest(url, headers=headers))

    return loop.run_until_complete(connect())


@pytest.mark.usefixtures("http_server_client")
class TestWebsocket:
    def test_without_a_token_it_is_forbidden(
        self, jp_asyncio_loop: Loop, jp_http_port: int, jp_base_url: str
    ) -> None:
        with pytest.raises(HTTPClientError) as caught:
            open_socket(jp_asyncio_loop, jp_http_port, jp_base_url, {})
        assert caught.value.code == 403

    def test_a_browser_s_from_a_foreign_page_is_forbidden(
        self, jp_asyncio_loop: Loop, jp_http_port: int, jp_base_url: str, browser: dict[str, str]
    ) -> None:
        headers = browser | {"Origin": "https://evil.example"}
        with pytest.raises(HTTPClientError) as caught:
            open_socket(jp_asyncio_loop, jp_http_port, jp_base_url, headers)
        assert caught.value.code == 403

    def test_a_browser_s_from_the_server_s_own_page_opens(
        self, jp_asyncio_loop: Loop, jp_http_port: int, jp_base_url: str, browser: dict[str, str]
    ) -> None:
        headers = browser | {"Origin": f"http://127.0.0.1:{jp_http_port}"}
        socket = open_socket(jp_asyncio_loop, jp_http_port, jp_base_url, headers)

        async def talk() -> tuple[Any, Any]:
            first = await socket.read_message()
            socket.close()
            return json.loads(first), await socket.read_message()

        first, end = jp_asyncio_loop.run_until_complete(talk())
        assert (first["type"], end) == ("jobs", None)

    def test_a_server_that_forbids_reading_forbids_it(
        self,
        jp_asyncio_loop: Loop,
        jp_http_port: int,
        jp_base_url: str,
        jp_auth_header: Any,
        jp_serverapp: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked: list[tuple[str, str]] = []

        def is_authorized(handler: Any, user: Any, action: str, resource: str) -> bool:
            asked.append((action, resource))
            return False

        monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", is_authorized)
        with pytest.raises(HTTPClientError) as caught:
            open_socket(jp_asyncio_loop, jp_http_port, jp_base_url, dict(jp_auth_header))
        assert caught.value.code == 403
        assert asked == [("read", "cloudbutton")]


def cookies_of(loop: Loop, jp_fetch: Any, token: str) -> dict[str, str]:
    """Return what a browser holds that has logged in with the token."""
    cookies: dict[str, str] = {}
    for params in ({}, {"token": token}):  # the form, and what it sends
        headers = {**NO_TOKEN, "Cookie": _header(cookies)}
        fetching = jp_fetch("login", params=params, headers=headers, follow_redirects=False)
        try:
            answer = loop.run_until_complete(fetching)
        except HTTPClientError as error:  # on to the first page
            answer = error.response
        for cookie in answer.headers.get_list("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
    return cookies


def _header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.mark.parametrize("path", [path for path in WRITING if path != "backends/local/test"])
def test_a_browser_s_writes_need_the_xsrf_token(
    path: str, jp_fetch: Any, jp_asyncio_loop: Loop, browser: dict[str, str]
) -> None:
    method = "PUT" if path == "settings" else "POST"
    forged = fetch(jp_asyncio_loop, jp_fetch, path, method=method, body="{}", headers=browser)
    assert forged.code == 403
    meant = fetch(
        jp_asyncio_loop, jp_fetch, path, method=method, body="{}",
        headers={**browser, "X-XSRFToken": browser["Cookie"].partition("_xsrf=")[2].partition(";")[0]},
    )  # fmt: skip
    assert meant.code == (200 if path == "settings" else 404)
