"""The command line: `python -m benchmarks [--case NAME ...] [--engine NAME ...]`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

from benchmarks.cases import ALL
from benchmarks.engine_list import ENGINES
from benchmarks.machine import usable_cpus
from benchmarks.report import as_json, table
from benchmarks.runner import Results, private_runner


def parse_arguments() -> argparse.Namespace:
    """Read the options; unknown cases and engines are refused with the known ones listed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--case",
        nargs="+",
        metavar="NAME",
        choices=[case.name for case in ALL],
        help="only these: %(choices)s",
    )
    parser.add_argument(
        "--engine",
        nargs="+",
        metavar="NAME",
        choices=[engine.name for engine in ENGINES],
        help="only these: %(choices)s",
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each engine and case at most")
    parser.add_argument(
        "--seconds",
        type=float,
        default=3,
        help="an engine that has spent this long on a case is not run again (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every reading to FILE")
    return parser.parse_args()  # fmt: skip


def main() -> int:
    """Measure, print a table after each case, and say how long it took."""
    options = parse_arguments()
    engines = [e for e in ENGINES if not options.engine or e.name in options.engine]
    cases = [case for case in ALL if not options.case or case.name in options.case]
    began = time.monotonic()
    print(
        f"{usable_cpus()} workers on {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; up to {options.runs} runs, engines in turns\n"
    )
    all_results: list[Results] = []
    with private_runner() as runner:
        usable = []
        for engine in engines:
            if missing := runner.why_missing(engine):
                print(f"{engine.name}: left out, it cannot be imported ({missing})\n")
            else:
                usable.append(engine)
        for case in cases:
            results = runner.run_case(case, usable, runs=options.runs, seconds=options.seconds)
            all_results.append(results)
            print(table(results), flush=True)
    if options.json:
        options.json.write_text(json.dumps(as_json(all_results), indent=1), encoding="utf-8")
    print(f"Measured in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
