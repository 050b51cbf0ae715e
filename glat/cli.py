"""The `glat` command, the flags of train.py, and how both say what went wrong."""

import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import tyro

from .commands import COMMANDS
from .commands.sweep import Sweep
from .config import PRESETS, TrainConfig
from .errors import Stopped, UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def reporting_user_errors() -> Iterator[None]:
    """Print a UserError as one line and leave with status 2; anything else is a bug and keeps its traceback.

    A run that a signal ended says so and leaves with a status of its own: 75 after SIGTERM, 130 after Ctrl-C.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(stopped.message, file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `glat tag ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        print(f"error: {error.filename or 'a file'} cannot be written ({error.strerror}); make room", file=sys.stderr)
        sys.exit(2)


def parse_train_config(arguments: Sequence[str]) -> TrainConfig:
    """The flags of train.py over the defaults of ``--preset``.

    Raises:
        UserError: an unknown preset. Unknown flags and values print what is known and exit with status 2.
    """
    preset = "paper"
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            preset = arguments[i + 1]
        elif argument.startswith("--preset="):
            preset = argument.removeprefix("--preset=")
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    return tyro.cli(
        TrainConfig,
        prog="train.py",
        default=PRESETS[preset](),
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def main() -> None:
    """Entry point of the `glat` command."""
    # A terminal that cannot show a name still gets the rest of the line.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with reporting_user_errors():
        if sys.argv[1:2] == ["sweep"]:
            sys.exit(_parse_sweep(sys.argv[2:])())
        command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="glat", config=(tyro.conf.OmitArgPrefixes,))
        sys.exit(command())


def _parse_sweep(arguments: Sequence[str]) -> Sweep:
    """The flags of `glat sweep`; all others are train.py's, and are looked at before a run starts."""
    command, flags = tyro.cli(Sweep, prog="glat sweep", args=list(arguments), return_unknown_args=True)
    return replace(command, flags=tuple(flags), config=parse_train_config(flags))
