"""Benchmarks, as ratios in one run: `python benchmarks/run.py [--only NAME]… [--quick] [--strict] [--json FILE]`.

Prints tables and writes the same numbers as JSON. Budgets that are missed are marked; with --strict they make the
exit code 1. $BENCH_DIR: where the series lie (default: the temporary directory); the disk there is what is measured.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import classifier
import detection
import dispatch
import evidence
import false_kills
import fault_storm
import idle
import kills
import scale
import startup
from ground import kept
from table import Line, Series, document, table

ALL = {
    "dispatch": (dispatch.measure, "Dispatch of runs that do nothing, two slots"),
    "scale": (scale.measure, "A campaign of 100,000 runs"),
    "idle": (idle.measure, "1,000 live runs, nothing happens"),
    "kills": (kills.measure, "The supervisor is killed under load"),
    "false_kills": (false_kills.measure, "Healthy programs ended by mistake, over recorded cadences"),
    "detection": (detection.measure, "A stall is noticed, and its slot is free again"),
    "evidence": (evidence.measure, "The evidence of a stall is saved"),
    "fault_storm": (fault_storm.measure, "A storm of faults over sixty runs, two slots"),
    "startup": (startup.measure, "Start-up"),
    "classifier": (classifier.measure, "The failure classifier"),
}


def main() -> int:
    """Exit code: 1 if a budget is missed and --strict is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*ALL], help="only this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="small series: does it run at all?")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a budget is missed")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    found: dict[str, object] = {}
    missed: list[Line] = []
    try:
        for name in options.only or ALL:
            call, title = ALL[name]
            series, begun = Series(name), time.perf_counter()
            budgets = call(series, quick=options.quick)
            print(table(f"### {title}", [*series.lines_without(budgets), *budgets]), flush=True)
            missed += [line for line in budgets if line.kept is False]
            found[name] = {
                "budgets": document(budgets),
                **series.document(),
                "seconds": round(time.perf_counter() - begun, 1),
                "load_average": os.getloadavg()[0],
            }
    finally:
        kept.remove()
    options.json.write_text(json.dumps({"quick": options.quick, "python": sys.version.split()[0], **found}, indent=1))
    for line in missed:
        print(f"missed: {line.what}: {line.measured:.3g} {line.unit}, budget {line.budget}", file=sys.stderr)
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
