"""A real kernel in a process of its own, spoken to as JupyterLab does."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

Answer = Callable[[str], str | None]
"""What the user says to a question; None for nothing at all."""


@dataclass
class Executed:
    """What one execute_request brought back."""

    reply: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return bool(self.reply["status"] == "ok")

    @property
    def text(self) -> str:
        """Everything printed and displayed, as text."""
        parts = []
        for message in self.messages:
            content = message["content"]
            if message["msg_type"] == "stream":
                parts.append(content["text"])
            elif message["msg_type"] in ("display_data", "execute_result", "update_display_data"):
                parts.append(content["data"].get("text/plain", ""))
        return "\n".join(parts)

    @property
    def result(self) -> str | None:
        """The value of the last expression, as shown."""
        shown = [m for m in self.messages if m["msg_type"] == "execute_result"]
        return str(shown[0]["content"]["data"]["text/plain"]) if shown else None

    @property
    def traceback(self) -> str:
        """What is shown of an error, without colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(self.reply.get("traceback", ())))

    def expression(self, name: str = "x") -> dict[str, Any]:
        found: dict[str, Any] = self.reply["user_expressions"][name]
        return found


class Kernel:
    """A front end's connection to a kernel."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def send(
        self,
        code: str,
        *,
        cell_id: str | None = None,
        choice: Mapping[str, Any] | None = None,
        expression: str | None = None,
        silent: bool = False,
        store_history: bool = True,
        allow_stdin: bool = False,
    ) -> str:
        """Send an execute_request as JupyterLab does, cell metadata included; return its id."""
        metadata = {"cellId": cell_id} if cell_id else {}
        if choice is not None:
            metadata["cloudbutton"] = dict(choice)  # type: ignore[assignment]
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history and not silent,
            "user_expressions": {"x": expression} if expression else {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def receive(
        self, sent: str, answer: Answer | None = None, patience: float = PATIENCE
    ) -> Executed:
        """Wait for all that comes back."""
        until = time.monotonic() + patience
        messages: list[dict[str, Any]] = []
        while True:
            assert time.monotonic() < until, f"no end after {patience:.0f} s: {messages}"
            if answer is not None and self.client.stdin_channel.msg_ready():
                question = self.client.get_stdin_msg(timeout=1)
                said = answer(question["content"]["prompt"])
                if said is not None:
                    self.client.input(said)
            if not self.client.iopub_channel.is_alive() or not self._has_iopub():
                continue
            message = self.client.get_iopub_msg(timeout=1)
            if message["parent_header"].get("msg_id") != sent:
                continue
            messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        reply = self.client.get_shell_msg(timeout=PATIENCE)
        while reply["parent_header"].get("msg_id") != sent:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
        return Executed(reply["content"], messages)

    def _has_iopub(self) -> bool:
        channel = self.client.iopub_channel
        return bool(channel.socket.poll(50))

    def run(self, code: str, *, answer: Answer | None = None, **how: Any) -> Executed:
        return self.receive(self.send(code, **how), answer)

    def value(self, expression: str) -> Any:
        """Return a value of the kernel that JSON can carry."""
        told = self.run("", silent=True, expression=f"__import__('json').dumps({expression})")
        found = told.expression()
        assert found["status"] == "ok", found
        quoted: str = found["data"]["text/plain"]
        return json.loads(eval(quoted))

    def ask(self, function: str, answer: Answer | None = None, **request: Any) -> dict[str, Any]:
        """Call a function of `front_end` as the extension does."""
        literal = json.dumps(json.dumps(request))
        module = f"__import__('cloudbutton_magic.kernel.front_end_api', fromlist=['{function}'])"
        told = self.run(
            "",
            silent=True,
            expression=f"{module}.{function}({literal})",
            allow_stdin=answer is not None,
            answer=answer,
        )
        return told.expression()


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a kernel whose IPython and Cloud Button keep their files in `home`."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in (".", "kernel_magic", "backend")),
        "IPYTHONDIR": str(home / "ipython"),
        "CLOUDBUTTON_HOME": str(home / "cloudbutton"),
        "NO_COLOR": "1",
    }


@contextmanager
def started(home: Path, env: Mapping[str, str]) -> Iterator[Kernel]:
    """Start a kernel with an IPython and a Cloud Button of its own; end it afterwards."""
    manager = KernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="test",
        language="python",
    )
    manager.start_kernel(env=dict(env), cwd=str(home))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
