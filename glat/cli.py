"""The `glat` command, the flags of train.py, and how both say what went wrong.

A command is imported when it runs: `glat --help` imports neither torch nor any of the commands.
"""

import errno
import importlib
import io
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import __version__
from .commands import COMMANDS
from .errors import GlatWarning, Stopped, UserError
from .text import complain

if TYPE_CHECKING:
    from .commands.sweep import Sweep

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def reporting_user_errors() -> Iterator[None]:
    """Print a UserError as one line and leave with status 2; anything else is a bug and keeps its traceback.

    A run that a signal ended says so and leaves with a status of its own: 75 after SIGTERM, 130 after Ctrl-C.
    """
    try:
        with _warnings_of_one_line():
            yield
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    except Stopped as stopped:
        complain(stopped.message)
        raise
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # `glat tag ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        complain(f"error: {error.filename or 'a file'} cannot be written ({error.strerror}); make room")
        sys.exit(2)


@contextmanager
def _warnings_of_one_line() -> Iterator[None]:
    """Print glat's own warnings as one line, on rank 0 only; others say which line of code they come from."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if not issubclass(category, GlatWarning):
            usual(message, category, *where, **options)
        elif os.environ.get("RANK", "0") == "0":
            complain(f"warning: {message}")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


def main() -> None:
    """Entry point of the `glat` command."""
    # A terminal that cannot show a name still gets the rest of the line.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name == "train":  # says itself what goes wrong, as `python train.py` does
        from .commands.train import run

        run(arguments)
        return
    with reporting_user_errors():
        if name in ("", "-h", "--help"):
            print(usage())
            sys.exit(0 if name else 2)
        if name == "--version":
            print(f"glat {__version__}")
            sys.exit(0)
        if name not in COMMANDS:
            raise UserError(f"there is no command {name!r}; choose one of {', '.join(COMMANDS)}, or see glat --help")
        sys.exit(_parse_sweep(arguments)() if name == "sweep" else _parse(name, arguments)())


def usage() -> str:
    """What `glat --help` prints."""
    lines = ["usage: glat COMMAND [flags]; glat COMMAND --help lists its flags", ""]
    for name, command in COMMANDS.items():
        lines += textwrap.wrap(command.help, 80, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14)
    return "\n".join([*lines, "", "  --version   the version of glat"])


def _command(name: str) -> Callable[..., Any]:
    """The class of a command, which is imported here."""
    found = COMMANDS[name]
    return getattr(importlib.import_module(f".commands.{found.module}", __package__), found.name)


def _parse(name: str, arguments: Sequence[str]) -> Callable[[], int]:
    from .flags import parse

    command: Callable[[], int] = parse(_command(name), arguments, f"glat {name}")
    return command


def _parse_sweep(arguments: Sequence[str]) -> "Sweep":
    """The flags of `glat sweep`; all others are train.py's, and are checked before a run starts."""
    from .flags import parse
    from .settings.training import parse_train_config

    command, flags = parse(_command("sweep"), arguments, "glat sweep", return_unknown_args=True)
    return replace(command, flags=tuple(flags), config=parse_train_config(flags))
