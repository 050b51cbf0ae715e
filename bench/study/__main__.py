"""``python -m bench.study run`` trains the runs that are missing; ``report``, ``when``, ``better`` write the page.

``gpu`` does both of the main rows at the paper's width, on a GPU, from a folder that ``data`` makes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glat.backbones import CNN10
from glat.cli import reporting_user_errors
from glat.config import OptimConfig
from glat.fields import kinds_of

from . import better, gpu, gpu_page, report, when
from .carried import carry
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
    _add_gpu(commands)
    asked = parser.parse_args(arguments)
    if asked.command in ("data", "gpu"):
        asked.act(asked)
        return 0
    data = asked.data.resolve() if asked.data is not None else None
    if asked.command in WRITERS:
        WRITERS[asked.command][0](asked.out, data, asked.to, asked.resamples)
        return 0
    run(asked.out, data, SMALL if asked.small else FULL, asked.processes, asked.only, asked.seeds)
    return 0


def _add_gpu(commands: Any) -> None:
    """The commands of the study on a GPU."""
    carrying = commands.add_parser("data", help="make a small folder of recordings, for a GPU without network")
    carrying.add_argument("--data", type=Path, required=True, help="a CSV of recordings with folds, such as esc10.csv")
    carrying.add_argument("--to", type=Path, required=True, help="the folder")
    carrying.add_argument("--megabytes", type=float, default=30.0, help="what it may take (30)")
    carrying.add_argument("--sample-rate-hz", type=int, default=CNN10.sample_rate_hz, help="of its files (32000)")
    carrying.set_defaults(act=_carry)
    training = commands.add_parser(
        "gpu",
        help="train the main rows at the paper's width within minutes of a GPU, and write what came out; goes on "
        "where it was stopped",
    )
    training.add_argument("--out", type=Path, required=True, help="the folder of the runs, and of all that is written")
    training.add_argument("--data", type=Path, required=True, help="a folder made by `data`, or a CSV with folds")
    training.add_argument("--minutes", type=float, default=gpu.MINUTES, help="what it may take (8); 0: only write")
    modes = kinds_of(OptimConfig)["compile"].base
    training.add_argument("--compile", default="auto", choices=modes, help="as of train.py (auto)")
    training.add_argument("--small", action="store_true", help="in a minute of a CPU, to see that all of it works")
    training.add_argument("--to", type=Path, help="where page and results go; default: --out")
    training.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap")
    training.set_defaults(act=_gpu)


def _carry(asked: argparse.Namespace) -> None:
    for line in carry(asked.data, asked.to, asked.megabytes, asked.sample_rate_hz):
        print(line, flush=True)


def _gpu(asked: argparse.Namespace) -> None:
    scale = gpu.GPU_SMALL if asked.small else gpu.GPU_FULL
    name = gpu.run(asked.out, asked.data, scale, asked.minutes, asked.compile)
    page = gpu_page.write(asked.out, name, scale, asked.to or asked.out, asked.resamples)
    print(f"page: {page}\nto be sent: {gpu.pack(asked.out)}", flush=True)


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
