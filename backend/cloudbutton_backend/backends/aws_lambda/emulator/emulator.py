"""`Emulator` starts, inspects and ends the emulated account; `serve` runs one until Ctrl-C."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final

from cloudbutton_backend.backends.aws_lambda.emulator import environment_variables, moto_process
from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import EmulatedFaults
from cloudbutton_backend.backends.aws_lambda.emulator.iam_requests import ApiCall
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits
from cloudbutton_backend.backends.aws_lambda.emulator.log_reports import DroppedEvent, ReportLine
from cloudbutton_backend.backends.extras import require
from cloudbutton_backend.errors import BackendError

_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 10.0


class Emulator:
    """AWS on this machine, for as long as the `with` block lasts.

    It runs in processes of its own, so a busy notebook does not slow it down, and ends when this
    process does, however it does.

    Parameters
    ----------
    limits
        Quotas and rhythm of the account.
    faults
        What goes wrong.
    region
        The region that `environment` names; the emulator itself answers for any.
    port
        Port of the Lambda endpoint on 127.0.0.1; 0 takes a free one.
    """

    _shared: ClassVar[Emulator | None] = None
    _sharing: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        *,
        limits: LambdaLimits | None = None,
        faults: EmulatedFaults | None = None,
        region: str = "us-east-1",
        port: int = 0,
    ) -> None:
        self.limits = limits or LambdaLimits()
        self.faults = faults or EmulatedFaults()
        self.region = region
        self._port = port
        self._endpoints: Mapping[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self._owner = os.getpid()

    def __repr__(self) -> str:
        if self._process is None:
            return "<Emulator, not running>"
        return f"<Emulator at {self._endpoints['lambda']}, process {self._process.pid}>"

    @classmethod
    def shared(cls) -> Emulator:
        """Return this process's emulator, which is started at first use and ends with the process."""
        with cls._sharing:
            found = cls._shared
            if found is None or not found.is_own or not found.is_running:
                found = cls._shared = cls()
                found.start()
                atexit.register(found.close)
            return found

    @property
    def is_own(self) -> bool:
        """Whether this process started it, and not one that this was forked off."""
        return self._owner == os.getpid()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; return when it answers."""
        if not sys.platform.startswith("linux"):
            raise BackendError(
                f"The Lambda emulator runs on Linux only, as Lambda does; this is {sys.platform}."
            )
        require("emulator")
        self._folder = Path(tempfile.mkdtemp(prefix="cloudbutton-emulator-"))
        config = {
            "folder": str(self._folder),
            "limits": asdict(self.limits),
            "faults": asdict(self.faults),
            "port": self._port,
        }
        module = "cloudbutton_backend.backends.aws_lambda.emulator.server"
        with open(self._folder / "stderr", "w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                moto_process.command(module, json.dumps(config)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_without_aws(os.environ),
                cwd="/",  # relative entries of PYTHONPATH lead to nothing of the user's there
                text=True,
                start_new_session=True,
            )
        self._endpoints = self._handshake(self._process)

    def close(self) -> None:
        """End it with everything it started. Safe to repeat."""
        process, self._process = self._process, None
        if process is None or not self.is_own:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_SECONDS)
        process.stdout.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def endpoints(self) -> Mapping[str, str]:
        """The URL of each service: `lambda`, `s3`, `iam`, `sts`, `logs`."""
        return self._endpoints

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that send boto3 and the AWS command line here."""
        return environment_variables.client_variables(self._endpoints, self.region)

    @property
    def calls(self) -> list[ApiCall]:
        """Every request so far, as the permissions it needed, oldest first."""
        own = self._ask("calls")
        others = _fetch(self._endpoints["s3"] + moto_process.CALLS)
        return sorted((ApiCall(**call) for call in own + others), key=lambda call: call.at)

    @property
    def reports(self) -> list[ReportLine]:
        """The bill of each run, oldest first."""
        return [ReportLine(**report) for report in self._ask("reports")]

    @property
    def dropped(self) -> list[DroppedEvent]:
        """Asynchronous events that were given up."""
        return [DroppedEvent(**dropped) for dropped in self._ask("dropped")]

    @property
    def state(self) -> dict[str, Any]:
        """Environments with their states and process ids, and how many events wait."""
        found: dict[str, Any] = self._ask("state")
        return found

    def advance(self, seconds: float) -> None:
        """Advance the clock of retries, idleness, scaling and pending states."""
        self._ask("advance", {"seconds": seconds})

    def set_faults(self, faults: EmulatedFaults) -> None:
        """Replace the faults from now on."""
        self.faults = faults
        self._ask("faults", asdict(faults))

    def _ask(self, what: str, body: Any = None) -> Any:
        return _fetch(f"{self._endpoints['lambda']}/_emulator/{what}", body)

    def _handshake(self, process: subprocess.Popen[str]) -> Mapping[str, str]:
        """Read where the emulator listens, or say why it does not."""
        assert process.stdout is not None
        patience = threading.Timer(_START_SECONDS, process.kill)
        patience.start()
        try:
            line = process.stdout.readline()  # ends: when the timer above kills the process
        finally:
            patience.cancel()
        if line:
            found: Mapping[str, str] = json.loads(line)
            return found
        assert self._folder is not None
        errors = (self._folder / "stderr").read_text(encoding="utf-8").strip()
        self.close()
        raise BackendError(f"The Lambda emulator could not be started:\n{errors[-2000:]}")


def _without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without the user's AWS settings: nothing of the emulator needs them."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}


def _fetch(url: str, body: Any = None) -> Any:
    """Exchange JSON with the emulator: directly, whatever proxies the user has."""
    data = None if body is None else json.dumps(body).encode()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, data, timeout=_START_SECONDS) as answer:
        return json.load(answer)


def serve(
    port: int = 0,
    *,
    say: Callable[[str], object],
    limits: LambdaLimits | None = None,
    faults: EmulatedFaults | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run an emulator until Ctrl-C or SIGTERM, and say how to reach it.

    Parameters
    ----------
    port
        Port of the Lambda endpoint on 127.0.0.1; 0 takes a free one.
    say
        Takes each line to be shown. Those that start with `export` are for a shell.
    limits, faults
        As for `Emulator`.
    stop
        Ends it as well, for callers in a thread of their own.
    """
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Emulator(port=port, limits=limits, faults=faults) as emulator:
        say("# AWS is emulated on this machine until Ctrl-C. In another shell:")
        for name, value in sorted(emulator.environment.items()):
            say(f"export {name}={value}")
        try:
            # A wait without an end would not notice that the emulator is gone.
            while emulator.is_running and not stop.wait(0.5):
                continue
        except KeyboardInterrupt:
            pass
