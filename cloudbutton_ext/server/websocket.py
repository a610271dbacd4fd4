"""The websocket that sends changes to a panel."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from cloudbutton_backend.errors import UsageError
from cloudbutton_ext.server import arguments
from cloudbutton_ext.server.broadcast import Subscriber
from cloudbutton_ext.server.context import ServerContext
from cloudbutton_ext.server.handler import RESOURCE
from cloudbutton_ext.server.poller import ClientState, Subscription

LONGEST_CURSOR: Final = 100
"""Characters of a cursor, or of what a panel sends: both are short."""
LONGEST_MESSAGE: Final = 1_000


class ChangesSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """`GET changes`, upgraded to a websocket."""

    auth_resource = RESOURCE

    def initialize(self, context: ServerContext) -> None:
        self.context = context
        self.subscriber: Subscriber | None = None
        self._sending: asyncio.Future[None] | None = None

    def set_default_headers(self) -> None:
        """Leave out the headers of pages, which make no sense for websockets."""

    def get_compression_options(self) -> Any:
        return self.settings.get("websocket_compression_options", None)

    @ws_authenticated
    async def get(self) -> None:
        allowed = self.authorizer.is_authorized(self, self.current_user, "read", RESOURCE)
        if not await ensure_async(allowed):
            raise web.HTTPError(403)
        if len(self.get_query_argument("cursor", "")) > LONGEST_CURSOR:
            raise web.HTTPError(400, "This cursor was not issued by this server.")
        await super().get()

    def open(self) -> None:
        super().open()
        self.subscriber = Subscriber(
            self, ClientState(self.get_query_argument("cursor", "") or None)
        )
        self.context.broadcaster.join(self.subscriber)

    def on_message(self, message: str | bytes) -> None:
        if self.subscriber is None:
            return
        try:
            self.context.broadcaster.watch(self.subscriber, _read(message))
        except UsageError as error:
            self.send(json.dumps({"type": "error", "message": str(error)}))

    def on_close(self) -> None:
        if self.subscriber is not None:
            self.context.broadcaster.leave(self.subscriber)
            self.subscriber = None
        super().on_close()

    def is_free(self) -> bool:
        """Whether what was sent before has gone: a slow panel gets fewer messages, not a queue."""
        return self._sending is None or self._sending.done()

    def send(self, text: str) -> None:
        """Send a message; to a panel that has just gone, none."""
        try:
            self._sending = asyncio.ensure_future(self.write_message(text))
        except (WebSocketClosedError, StreamClosedError):
            self.on_close()
        else:
            self._sending.add_done_callback(_take_exception)


def _take_exception(sent: asyncio.Future[None]) -> None:
    """Ignore the error of a message whose panel has gone; `on_close` follows."""
    if not sent.cancelled():
        sent.exception()


def _read(message: str | bytes) -> Subscription | None:
    """Return what a panel wants to watch.

    Raises
    ------
    UsageError
        It cannot be understood.
    """
    if len(message) > LONGEST_MESSAGE:
        raise UsageError("This message is longer than any that makes sense.")
    asked = arguments.json_object(message)
    if asked.get("type") != "watch":
        raise UsageError('The only message known here is `{"type": "watch", "job": ID or null}`.')
    if asked.get("job") is None:
        return None
    job_id = arguments.job_id(asked["job"])
    batch, piece = (
        arguments.integer(name, str(asked.get(name, 0)), 0)
        for name in ("batches_after", "log_after")
    )
    return Subscription(job_id, batch=batch, piece=piece)
