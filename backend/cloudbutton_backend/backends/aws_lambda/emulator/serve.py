"""`serve`: the emulator for other programs, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from cloudbutton_backend.backends.aws_lambda.emulator.emulated_faults import EmulatedFaults
from cloudbutton_backend.backends.aws_lambda.emulator.emulator import Emulator
from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits


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
