"""`python -m cloudbutton_backend.testing.lambda_emulator [PORT]`: the emulator until Ctrl-C."""

from __future__ import annotations

import functools
import sys

from cloudbutton_backend.testing.lambda_emulator.serving import serve

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    serve(port, say=functools.partial(print, flush=True))
