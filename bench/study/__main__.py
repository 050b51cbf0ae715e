"""``python -m bench.study run`` trains the runs that are missing; ``report``, ``when``, ``better`` write the page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from glat.cli import reporting_user_errors

from . import better, report, when
from .collect import RESAMPLES
from .plan import FULL, SMALL
from .report import PAGE
from .running import run

WRITERS = {
    "report": (report.write, "write results, pictures and page from the runs that have ended"),
    "when": (when.write, "score when classes sound, of the runs fine* that have ended; write that part of the page"),
    "better": (better.write, "compare what was tried for a better recipe; write that part of the page"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    both.add_argument("--data", type=Path, help="recordings with folds, as for train.py; default: synthesised")
    training = commands.add_parser(
        "run", parents=[both], help="train what is missing; the same command goes on where it was stopped"
    )
    training.add_argument("--processes", type=int, default=1, help="runs at a time, which share the cores")
    training.add_argument("--only", nargs="+", default=[], help="jobs, such as alone joint; default: all")
    training.add_argument("--seeds", nargs="+", type=int, default=[], help="default: those of the plan")
    training.add_argument("--small", action="store_true", help="in some minutes, to see that all of it works")
    for name, (_, help_) in WRITERS.items():
        writing = commands.add_parser(name, parents=[both], help=help_)
        writing.add_argument("--to", type=Path, default=PAGE.parent, help="default: docs/")
        writing.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap")
    asked = parser.parse_args(arguments)
    data = asked.data.resolve() if asked.data is not None else None
    if asked.command in WRITERS:
        WRITERS[asked.command][0](asked.out, data, asked.to, asked.resamples)
        return 0
    run(asked.out, data, SMALL if asked.small else FULL, asked.processes, asked.only, asked.seeds)
    return 0


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
