"""Files of this machine and of object storage (``s3://``, ``gs://``, ``https://``), read by ranges through fsspec.

What is elsewhere is never fetched whole: a range is one request. A connection that drops is tried again; what stays
unreachable ends a run with one line, since clips that are swapped for others would change its numbers in silence.
"""

import hashlib
import io
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeVar

from ..errors import UserError, first_line
from ..urls import url_of

TRIES, FIRST_PAUSE_SECONDS = 5, 0.5  # the pause doubles: 7.5 s in all
BLOCK_BYTES = 1 << 16  # what is looked for, headers and HDF5's tables, lies in small pieces among samples
BLOCKS = 64  # that an open file keeps

_Found = TypeVar("_Found")


class GoneError(UserError):
    """There is no such file."""


class Look(NamedTuple):
    """What a storage says of a file: its size, and what changes with its content."""

    size: int
    tag: str


def is_remote(path: Path) -> bool:
    """Whether a path is an address."""
    return url_of(path) is not None


def size_of(path: Path) -> int:
    """Bytes of a file.

    Raises:
        OSError: of a file of this machine.
        UserError: of any other: as of `look`.
    """
    return look(path).size if is_remote(path) else path.stat().st_size


def opened(path: Path, size: int | None = None) -> BinaryIO:
    """A file for reading anywhere in it; of one elsewhere the last blocks are kept.

    Args:
        size: of the file, where it is known, which saves a request.

    Raises:
        OSError, UserError: as of `size_of`.
    """
    return _RemoteFile(path, size) if is_remote(path) else path.open("rb")  # type: ignore[return-value]


def is_folder(path: Path) -> bool:
    """Whether an address is of a folder, by its name: no suffix, but that of a version (``v1.0``)."""
    return not path.suffix or path.suffix[1:2].isdigit()


def children(folder: Path) -> list[Path]:
    """The files directly in a folder that is elsewhere.

    Raises:
        UserError: it cannot be listed, or is empty.
    """
    fs, inside = _filesystem(folder)
    names = _tried(folder, lambda: fs.ls(inside, detail=False))
    return [folder / PurePosixPath(str(name).rstrip("/")).name for name in names]


def look(path: Path) -> Look:
    """Look at a file that is elsewhere, without what was seen before.

    Raises:
        GoneError: there is none.
        UserError: it may not be read, or its storage cannot be reached.
    """
    fs, inside = _filesystem(path)
    fs.invalidate_cache()
    info = _tried(path, lambda: fs.info(inside))
    if info.get("size") is None:
        raise UserError(f"{url_of(path)}: its size is not said; copy it to this machine, and give the copy")
    keys = ("ETag", "etag", "md5Hash", "generation", "LastModified", "Last-Modified", "last_modified", "mtime")
    return Look(int(info["size"]), next((str(info[key]) for key in keys if info.get(key)), ""))


def stamp(path: Path) -> tuple[int, int, int] | None:
    """(bytes, number made of its tag, 0) of a file that is elsewhere, (-1, -1, -1) of none; None: it cannot be told."""
    try:
        found = look(path)
    except GoneError:
        return -1, -1, -1
    except UserError:
        return None
    digest = hashlib.sha256(found.tag.encode()).digest()
    return found.size, int.from_bytes(digest[:8], "big") & (2**63 - 1), 0


def read_range(path: Path, offset: int, size: int) -> bytes:
    """A piece of a file that is elsewhere, by one request.

    Raises:
        UserError: as of `look`; the storage gives other pieces than were asked for.
    """
    if not size:
        return b""
    fs, inside = _filesystem(path)

    def read() -> bytes:
        found: bytes = fs.cat_file(inside, start=offset, end=offset + size)
        if len(found) > size:
            raise UserError(f"{url_of(path)}: its server gives whole files only; copy it to this machine")
        if len(found) < size:
            raise ConnectionError(f"{len(found)} of {size} bytes came")
        return found

    return _tried(path, read)


class _RemoteFile(io.RawIOBase):
    """A file by ranges; not for several threads."""

    def __init__(self, path: Path, size: int | None) -> None:
        from fsspec.caching import BlockCache

        self._size = look(path).size if size is None else size
        self._cache = BlockCache(
            BLOCK_BYTES, lambda start, end: read_range(path, start, min(end, self._size) - start), self._size, BLOCKS
        )
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        found = self._cache._fetch(self._at, end) if end > self._at else b""
        memoryview(buffer)[: len(found)] = found
        self._at += len(found)
        return len(found)


@cache
def _open_filesystem(scheme: str) -> tuple[Any, Exception | None]:
    try:
        from fsspec import filesystem

        return filesystem(scheme), None
    except (ImportError, ValueError) as error:
        return None, error


def _filesystem(path: Path) -> tuple[Any, str]:
    """fsspec's file system of an address, and what the address is called there.

    Raises:
        UserError: fsspec, or what it needs for this scheme, is not installed.
    """
    url = url_of(path)
    assert url is not None
    scheme = url.partition(":")[0]
    found, error = _open_filesystem(scheme)
    if error is not None:
        missing = isinstance(error, ImportError)
        how = f"pip install 'glat[remote]' {_PACKAGES.get(scheme, '')}".rstrip() if missing else "copy it here"
        raise UserError(f"{url}: {first_line(error)}; {how}")
    return found, found._strip_protocol(url)


_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def _tried(path: Path, ask: Callable[[], _Found]) -> _Found:
    """What a request gives, which is made again where the connection failed."""
    url = url_of(path)
    for last in range(TRIES):
        try:
            return ask()
        except UserError:
            raise
        except Exception as found:  # of fsspec, the package for this scheme, and the library below that
            error = _behind(found)
            if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == 404:
                raise GoneError(f"{url}: no such file, or none that you may see; check the name") from None
            if _refused(error):
                raise UserError(
                    f"{url}: may not be read ({first_line(error)[:200]}); give the credentials in the way of its "
                    "package, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from None
            if last + 1 == TRIES:
                raise UserError(
                    f"{url}: cannot be read, {TRIES} times tried ({type(error).__name__}: {first_line(error)[:200]}); "
                    "look after the connection, and go on with the same command"
                ) from None
            time.sleep(FIRST_PAUSE_SECONDS * 2**last)
    raise AssertionError


def _behind(error: Exception) -> BaseException:
    """What went wrong: fsspec says of every failure over HTTP that there is no such file."""
    cause = error.__cause__
    return cause if cause is not None and type(cause).__module__.startswith("aiohttp") else error


def _refused(error: BaseException) -> bool:
    """Whether another try would be refused, too."""
    status = getattr(error, "status", None)  # of aiohttp
    named = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
    return isinstance(error, PermissionError) or status in (401, 403) or named
