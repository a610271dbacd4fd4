"""A web server for large bodies: aiohttp's low-level one, without routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

_LARGEST: Final = 1 << 30
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def server(handler: Handler) -> web.Server:
    """Return what `loop.create_server` needs to have every request answered by `handler`."""
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=_LARGEST
        )

    return web.Server(handler, request_factory=request, access_log=None)
