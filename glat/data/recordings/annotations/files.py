"""Which file a table means: by path, or by name anywhere below a folder."""

import os
import re
import unicodedata
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from ....errors import UserError
from ..folders import recordings_below

# YouTube's id and the start in milliseconds, as AudioSet's strong labels name segments.
_SEGMENT = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})_(?P<start>\d+)")


class Files:
    """The recordings that a table may name.

    Args:
        folder: what its paths are relative to, and where files are looked for by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Path:
        """The file of a name in a table; where there is none, where it should lie.

        Looked for as it stands, as a path of Windows, by its last part in the folder, and by its name, with or without
        a suffix, anywhere below.

        Raises:
            UserError: several files have this name.
        """
        parts = PureWindowsPath(name)
        last = parts.name
        relative = name if not parts.is_absolute() else last
        for candidate in dict.fromkeys((name, relative.replace("\\", "/"), last)):
            if (path := there(self.folder, candidate)).is_file():
                return path
        for key in (last, *_stems(last)):
            found = self._by_name.get(_key(key), ())
            if len(found) > 1:
                raise UserError(f"{name} may be {found[0]} or {found[1]}; give its path")
            if found:
                return found[0]
        return there(self.folder, relative.replace("\\", "/"))

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in recordings_below(self.folder)[0]:
            for key in {_key(path.name), _key(path.stem)}:
                found.setdefault(key, []).append(path)
        return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stems(name: str) -> tuple[str, ...]:
    """What a file of this name may be called without its suffix, likeliest first."""
    stem = name.rpartition(".")[0] or name
    match = _SEGMENT.fullmatch(stem)
    if match is None:
        return (stem,)
    clip, start = match["id"], int(match["start"]) / 1000
    named = (
        stem,
        f"{clip}_{start:.3f}_{start + 10:.3f}",
        f"{clip}_{start:g}_{start + 10:g}",
        f"{clip}_{start:g}",
        clip,
    )
    return tuple(prefix + each for each in named for prefix in ("", "Y"))


def there(folder: Path, name: str) -> Path:
    """A file by its name in a table, which may be written otherwise than on the disk: composed otherwise (macOS
    decomposes), with backslashes, as in a URL, its suffix in capitals."""
    stem, dot, suffix = name.rpartition(".")
    if name.isascii() and not {"\\", "%"} & set(name) and suffix == suffix.lower():
        return folder / name
    forms = [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    forms += [name.replace("\\", "/"), unquote(name), stem + dot + suffix.lower()]
    return next((folder / form for form in forms if (folder / form).exists()), folder / name)


def name_in(folder: Path, path: Path) -> str:
    """What a recording is called: its path below the folder, with forward slashes; of one elsewhere all of its path."""
    inside = Path(os.path.normpath(path))
    below = inside.relative_to(folder) if inside.is_relative_to(folder) else inside
    return os.fsencode(below.as_posix()).decode("utf-8", "backslashreplace")
