"""What ends a command before its work is done: errors that a user can mend, and signals."""

import warnings

from .text import shown


class UserError(ValueError):
    """Bad input: the message names what was seen, what was wanted and the way out.

    The commands print it as one line and leave with status 2; anything else that is raised is a bug and keeps its
    traceback.
    """


class GlatWarning(UserWarning):
    """Something to know that stops nothing; the commands print it as one line."""


def warn(message: str, stacklevel: int = 1) -> None:
    """Give a `GlatWarning`; names and labels in it are shown, not obeyed."""
    warnings.warn(shown(message), GlatWarning, stacklevel=stacklevel + 1)


class Stopped(SystemExit):
    """A run that a signal ended after it had saved itself; `code` is what the process leaves with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(status)
        self.message = message


def first_line(error: BaseException) -> str:
    """What an error of a library says, for a message of one line; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
