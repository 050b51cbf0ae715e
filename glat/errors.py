"""Errors that a user can mend."""


class UserError(ValueError):
    """Bad input: the message names what was seen, what was wanted and the way out.

    The commands print it as one line and leave with status 2; anything else that is raised is a bug and keeps its
    traceback.
    """
