"""One reading in one process: `python -m benchmarks.child CASE ENGINE CHUNK FILE`.

CHUNK is a number in the tuned variant, else `default`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.cases import ALL
from benchmarks.engine_list import ENGINES
from benchmarks.model import Cell, Reading


def main() -> None:
    """Run the case and leave its readings, or why there are none, in FILE."""
    case_name, engine_name, chunk, file = sys.argv[1:]
    case = next(case for case in ALL if case.name == case_name)
    engine = next(engine for engine in ENGINES if engine.name == engine_name)
    cell = Cell(engine, None if chunk == "default" else int(chunk))
    readings: dict[str, Reading]
    try:
        readings = dict(case.run(cell))
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        readings = {"error": f"{type(error).__name__}: {first_line}"}
    part = Path(file + ".part")
    part.write_text(json.dumps(readings), encoding="utf-8")
    os.replace(part, file)


if __name__ == "__main__":
    main()
