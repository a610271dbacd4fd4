"""The base of all endpoints: authorization, work off the event loop, errors as JSON."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from cloudbutton_backend.errors import (
    BackendError,
    CloudError,
    JournalError,
    SettingsError,
    UnknownName,
    UsageError,
)
from cloudbutton_ext.server import serializers
from cloudbutton_ext.server.context import ServerContext

Value = TypeVar("Value")

RESOURCE: Final = "cloudbutton"
"""What an Authorizer is asked about."""


class RequestRefused(CloudError):
    """The server cannot do what the panel asked for, as things are."""

    def __init__(self, message: str, *, status: int = 409, **more: Any) -> None:
        super().__init__(message)
        self.status, self.more = status, more


STATUS: Final[tuple[tuple[type[CloudError], int], ...]] = (
    (SettingsError, 409),  # a file that the user has to repair
    (UnknownName, 404),
    (UsageError, 400),
    (JournalError, 503),
    (BackendError, 503),
)
"""HTTP's words for our errors, the more special ones first."""


@dataclass(frozen=True)
class Document:
    """An HTML file for download."""

    text: str
    name: str


_SEALED_OFF: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""What a browser shall do with a document that it is made to open: run and fetch nothing, in no
origin that could ask this server anything."""


class Handler(APIHandler):
    """An endpoint. Its methods are made with `endpoint`, and return a `Document` or what is sent as JSON."""

    auth_resource = RESOURCE
    context: ServerContext

    def initialize(self, context: ServerContext) -> None:
        self.context = context

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        """Track no activity: polling must not keep an idle server from being shut down."""
        return self.request.method != "GET"

    async def run_in_thread(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call a function that reads files on a thread, so that the server goes on meanwhile."""
        return await self.context.run_in_thread(function, *arguments)

    def argument(self, name: str) -> str | None:
        """Return what the query says, None where it says nothing."""
        return self.get_query_argument(name, None)

    def send(self, answer: Any, *, status: int = 200) -> None:
        """Answer with JSON; text is JSON already."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        text = answer if isinstance(answer, str) else serializers.to_json(answer)
        self.finish(text)

    def send_document(self, document: Document) -> None:
        """Answer with a file to be saved, not shown: it holds what tasks printed."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Disposition", f'attachment; filename="{document.name}"')
        self.set_header("Content-Security-Policy", _SEALED_OFF)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(document.text, set_content_type="text/html; charset=UTF-8")

    def send_error_as_json(self, error: CloudError) -> None:
        """Answer with what went wrong, without where our files are."""
        if isinstance(error, RequestRefused):
            status, more = error.status, error.more
        else:
            status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
            more = {}
        self.send({"message": self.context.paths.hide_paths(str(error)), **more}, status=status)


def endpoint(method: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a method of a `Handler` one that only known users reach, with errors as JSON."""

    @web.authenticated
    @authorized
    @functools.wraps(method)
    async def answered(self: Handler, *arguments: str) -> None:
        try:
            answer = await method(self, *arguments)
        except CloudError as error:
            self.send_error_as_json(error)
            return
        if isinstance(answer, Document):
            self.send_document(answer)
            return
        status = 202 if isinstance(answer, dict) and "command" in answer else 200
        self.send(answer, status=status)

    return answered


class NotFound(Handler):
    """Answers all other paths under our address."""

    @endpoint
    async def get(self) -> None:
        raise RequestRefused(
            f"There is no `{self.request.path.rpartition('/api/')[2]}` here.", status=404
        )

    post = put = patch = delete = get
