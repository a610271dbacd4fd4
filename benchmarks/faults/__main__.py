"""The command line: `python -m benchmarks.faults [NAME ...] [--seeds N]`."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.faults.report import remarks, row, table
from benchmarks.faults.running import tallies
from benchmarks.faults.scenarios import ALL
from benchmarks.faults.tally import together


def parse_arguments() -> argparse.Namespace:
    """Read the options; unknown scenarios are refused with the known ones listed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    names = [scenario.name for scenario in ALL]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)}")
    parser.add_argument("--seeds", type=int, help="how many of each, instead of its own number")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--at-once", type=int, default=1, help="seeds run at the same time")
    parser.add_argument("--folder", help="where temporary files go; up to 10 GB for large-results")
    options = parser.parse_args()
    unknown = sorted({*options.names} - {*names})
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(names)}")
    return options


def main() -> int:
    """Run the scenarios, print a table, and return 1 if a promise was broken."""
    options = parse_arguments()
    rows, texts, is_clean = [], [], True
    for scenario in ALL:
        if options.names and scenario.name not in options.names:
            continue
        began = time.perf_counter()
        seeds = range(options.first, options.first + (options.seeds or scenario.seeds))
        each = []
        for seed, tally in zip(
            seeds, tallies(scenario.name, options.folder, seeds, options.at_once)
        ):
            each.append(tally)
            if not tally.is_clean:
                print(f"{scenario.name}, seed {seed}: {tally}", file=sys.stderr, flush=True)
        tally = together(each)
        is_clean = is_clean and tally.is_clean
        rows.append(row(scenario.name, tally))
        texts.append(remarks(scenario, tally) + f"\n  took {time.perf_counter() - began:,.0f} s")
        print(texts[-1], flush=True)
    print("\n" + table(rows))
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
