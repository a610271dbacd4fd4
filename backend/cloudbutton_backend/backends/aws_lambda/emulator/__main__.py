"""`python -m cloudbutton_backend.backends.aws_lambda.emulator [PORT]`: the emulator until Ctrl-C."""

from __future__ import annotations

import functools
import sys

from cloudbutton_backend.backends.aws_lambda.emulator.emulator import serve

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    serve(port, say=functools.partial(print, flush=True))
