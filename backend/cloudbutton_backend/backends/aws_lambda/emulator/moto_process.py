"""moto's server in its own process: S3, IAM, STS, logs and Lambda's records.

Its listening socket is made by the emulator and handed over, so that requests may be sent before
moto has been imported, which takes most of a second.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import (
    ApiCall,
    IamRequest,
    calls_of,
)

_ROOT = str(Path(__file__).parents[4])


def command(module: str, argument: str) -> list[str]:
    """Return the command that runs `main` of one of our modules.

    The current folder, where a user's `json.py` may lie, is not on the path.
    """
    code = f"import sys; sys.path[0] = {_ROOT!r}; from {module} import main; main()"
    return [sys.executable, "-c", code, argument]


CALLS: Final = "/_emulator/calls"
_LOOKED_AT: Final = 1 << 20
"""Bodies are looked at up to this size: none that says what is wanted is larger."""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class RequestRecorder:
    """Writes down what a web application is asked for, and refuses what is not signed."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._calls: list[ApiCall] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CALLS:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps([asdict(call) for call in list(self._calls)]).encode()]
        request = _request_of(environ)
        if request.scope is not None:
            found = calls_of(request, time.time())
            # Lambda's are recorded by the emulator, which forwards some of them.
            self._calls += [c for c in found if c.service != "lambda" and c.principal != "service"]
        return self._application(environ, start_response)


def _request_of(environ: dict[str, Any]) -> IamRequest:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    body = b""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if environ["REQUEST_METHOD"] == "POST" and length <= _LOOKED_AT:
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
    raw = str(environ.get("RAW_URI") or environ["PATH_INFO"])
    return IamRequest(
        method=environ["REQUEST_METHOD"],
        path=raw.partition("?")[0],
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        body=body,
    )


def main() -> None:
    """Serve on the socket whose descriptor is the first argument, until standard input closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    listening = socket.socket(fileno=int(sys.argv[1]))
    host, port = listening.getsockname()[:2]
    os.environ["MOTO_PORT"] = str(port)

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class KeepAliveHandler(WSGIRequestHandler):
        """Keeps connections open, as S3 does."""

        protocol_version = "HTTP/1.1"

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = RequestRecorder(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        host,
        port,
        application,
        threaded=True,
        request_handler=KeepAliveHandler,
        fd=listening.fileno(),
    )
    server.serve_forever()


def _end_with_parent() -> None:
    while os.read(0, 1):  # ends: with the parent, which has the other end
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
