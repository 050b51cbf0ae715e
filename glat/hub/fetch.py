"""From ``hf://owner/name`` to files on this machine, in the cache of huggingface_hub.

Only safetensors and JSON are fetched, by name: what else a repository holds, code and pickles above all, stays there.
"""

import glob
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import __version__
from ..errors import UserError, first_line
from ..urls import url_of

RUN_FILES = (
    *("config.json", "model.safetensors", "best.safetensors"),
    *("thresholds.json", "evaluation.json", "metrics.jsonl"),
)
HUB = "hf://"
INSTALL = "it needs huggingface_hub: pip install 'glat[hub]'"
NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)  # of a repository: owner/name
# A revision is a branch, a tag or a commit; only those of pull requests hold slashes.
_ADDRESS = re.compile(
    rf"hf://(?P<name>{NAME.pattern})(?:@(?P<revision>refs/pr/\d+|[^/@]+))?(?:/(?P<path>[^@]+?))?/?", re.ASCII
)


@dataclass(frozen=True)
class Address:
    """What an address names."""

    url: str  # as it was typed
    name: str  # owner/name
    revision: str | None
    path: str | None  # a file or a folder in the repository


def parse(url: str) -> Address:
    """Take an address apart.

    Raises:
        UserError: it is no address of a model.
    """
    found = _ADDRESS.fullmatch(url)
    if found is None or ".." in PurePosixPath(found["path"] or "").parts:
        raise UserError(f"{url} is no address of the hub; give hf://owner/name, with @revision and /file if need be")
    return Address(url, found["name"], found["revision"], found["path"])


def local(source: str | Path) -> Path:
    """Where a run or weights lie on this machine; what ``hf://`` names is fetched first, or found in the cache.

    Args:
        source: a path, which is returned as it is, or ``hf://owner/name[@revision]``: a run; ``.../folder``: a run in a
            folder of the repository; ``.../file.safetensors``: weights.

    Raises:
        UserError: another address; nothing there; no right to it; the hub cannot be reached and the cache lacks it.
    """
    url = url_of(source)
    if url is None:
        return Path(source)
    if not url.startswith(HUB):
        raise UserError(f"{url}: runs and weights are read from this machine or the hub; copy it, or give hf://...")
    address = parse(url)
    path = address.path
    suffix = PurePosixPath(path or "").suffix
    if path is not None and suffix in (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".onnx", ".h5", ".py"):
        raise UserError(
            f"{url}: of the hub glat takes safetensors only, since other files can run code; if you trust it, fetch it "
            f"yourself with hf download {address.name} {path}, and give the file"
        )
    prefix = glob.escape(f"{path}/") if path else ""
    is_file = suffix == ".safetensors"
    wanted = [glob.escape(str(path))] if is_file else [prefix + name for name in RUN_FILES]
    folder = _snapshot(address, wanted)
    if is_file:
        if not (folder / str(path)).is_file():
            raise UserError(f"hf://{address.name} has no file {path}{_at(address)}; see {page(address.name)}")
        return folder / str(path)
    run = folder / path if path else folder
    _check_run(run, address)
    return run


def _check_run(run: Path, address: Address) -> None:
    """See that a run of glat was fetched, and no other program's model."""
    config = run / RUN_FILES[0]
    if config.is_file() and b'"fingerprint"' in config.read_bytes():
        return
    seen = f"its {config.name} is of another program" if config.is_file() else f"it has no {config.name}"
    raise UserError(
        f"{address.url} holds no run of glat ({seen}){_at(address)}; of PANNs' or TALNet's weights as safetensors give "
        f"the file, hf://{address.name}/NAME.safetensors"
    )


def _snapshot(address: Address, wanted: list[str]) -> Path:
    with talking(address.name, address.revision) as hub:
        found = hub.snapshot_download(
            address.name,
            revision=address.revision,
            allow_patterns=wanted,
            library_name="glat",
            library_version=__version__,
        )
    return Path(found)


def _at(address: Address) -> str:
    return f" at {address.revision}" if address.revision else ""


def page(name: str) -> str:
    """Where a person looks at a model."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{name}"


@contextmanager
def talking(name: str, revision: str | None = None) -> Iterator[Any]:
    """The module huggingface_hub, quiet; what it raises in the block becomes a UserError of one line.

    Args:
        name: owner/name, for messages, as is the revision.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
            logging,
        )
    except ImportError:
        raise UserError(f"hf://{name}: {INSTALL}") from None
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    hidden = not sys.stderr.isatty() and not are_progress_bars_disabled()  # in a log they are lines of rubbish
    if hidden:
        disable_progress_bars()
    try:
        yield huggingface_hub
    except UserError:
        raise
    except Exception as error:  # of it, of the HTTP library below it, of the file system
        raise UserError(f"hf://{name}{_reason(error, name, revision)}") from None
    finally:
        logging.set_verbosity(before)
        if hidden:
            enable_progress_bars()


def _reason(error: Exception, name: str, revision: str | None) -> str:
    """What went wrong, and the way out. No message holds what was sent, so none holds a token."""
    from huggingface_hub import constants, errors, get_token

    log_in = "log in with hf auth login, or set HF_TOKEN"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    cache = f"the cache {constants.HF_HUB_CACHE}"
    if isinstance(error, errors.HFValidationError):
        return f" is no name of a model ({first_line(error)}); give owner/name"
    if isinstance(cause, errors.GatedRepoError):
        return f" asks for consent: accept its terms on {page(name)}, and {log_in}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f" has no revision {revision or 'main'}; {page(name)} lists its branches, tags and commits"
    if isinstance(cause, errors.RepositoryNotFoundError) or status in (401, 404):
        who = "your token may not see it" if get_token() else "no token is set"
        return f": there is no such model, or it is private and {who}; check the name, or {log_in}"
    if status == 403:
        return ": your token has not the right to do that; take one that has, from the hub's settings"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f" is not in {cache}, and HF_HUB_OFFLINE is set; unset it, or take the cache of another machine along"
    if status is not None:
        return f": the hub answers {status} ({first_line(cause or error)[:200]}); try again later"
    if isinstance(error, OSError) and error.filename:  # of this machine: no right, read-only, full
        return f": {cache} cannot be written ({first_line(error)}); set HF_HOME to a folder that can"
    if isinstance(error, errors.LocalEntryNotFoundError):
        why = first_line(cause or error)
        return f" is not in {cache}, and {constants.ENDPOINT} cannot be reached ({why}); connect, or take a cache along"
    return f" cannot be had from {constants.ENDPOINT} ({type(error).__name__}: {first_line(error)[:200]}); try again"
