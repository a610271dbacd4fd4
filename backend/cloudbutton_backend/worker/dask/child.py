"""A process that runs items beside a Dask worker: the local worker's loop, all of it through one socket."""

from __future__ import annotations

import _thread
import json
import mmap
import os
import socket
import sys

from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.aws_lambda.child import FunctionWorker, stand_in
from cloudbutton_backend.worker.loop import Channel, watch_lifeline


def main(config: str) -> None:
    """Be a worker. `config` is the JSON that `dask_site` wrote on the command line."""
    settings = json.loads(config)
    sock = socket.socket(fileno=settings["socket"])
    page = mmap.mmap(settings["page"], status_page.SIZE)
    os.close(settings["page"])
    _thread.start_new_thread(watch_lifeline, (settings["lifeline"],))
    sock.setblocking(True)
    for fd in (settings["socket"], settings["lifeline"], settings["tail"]):
        os.set_inheritable(fd, False)
    sys.argv = [""]
    sys.modules["__main__"].__dict__.pop("main", None)
    if settings["alone"]:
        stand_in()
    worker = FunctionWorker(Channel(sock), status_page.view(page), settings["tail"])
    import faulthandler

    faulthandler.enable(2)
    worker.serve()
