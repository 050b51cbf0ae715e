"""What a flag names beside files of this machine: addresses, which ``Path`` writes with one slash in place of two."""

import re
from pathlib import Path

DATASET = "hf-dataset:"  # before the folder of a saved data set of Hugging Face's datasets
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])")


def url_of(path: str | Path) -> str | None:
    """The address that a flag names, as it was typed: ``s3://bucket/x.tar``; None of a path on this machine."""
    text = str(path)
    found = _ADDRESS.match(text)
    if found is None or text.startswith(DATASET):
        return None
    slashes = ":///" if found[1] == "file" else "://"
    return found[1] + slashes + text[found.end() :]


def shown_path(path: Path) -> str:
    """A path or address as it was typed."""
    return url_of(path) or str(path)


def absolute(path: Path) -> Path:
    """A path that holds from any working directory; addresses do."""
    if url_of(path) is not None:
        return path
    text = str(path)
    if text.startswith(DATASET):
        return Path(DATASET + str(Path(text.removeprefix(DATASET)).resolve()))
    return path.resolve()
