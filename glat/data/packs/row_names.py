"""Names of a pack's rows that are not as the others': all that tells a flipped bit in HDF5 without checksums."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

_AUDIOSET = re.compile(r"Y[A-Za-z0-9_-]{11}\.wav")
_MOST = 0.9  # of the names follow one pattern


def odd_names(names: Sequence[str]) -> dict[int, str]:
    """{row: what is odd about its name} of named rows: twice there, marks that no name has, another pattern."""
    rows = [row for row, name in enumerate(names) if name]
    times = Counter(names[row] for row in rows)
    in_audioset = [row for row in rows if _AUDIOSET.fullmatch(names[row])]
    suffixes = Counter(PurePosixPath(names[row]).suffix for row in rows)
    suffix, count = suffixes.most_common(1)[0] if suffixes else ("", 0)
    is_audioset, have_suffix = (len(rows) > n >= _MOST * len(rows) for n in (len(in_audioset), count))
    found = {}
    for row in rows:
        name = names[row]
        if times[name] > 1:
            found[row] = f"its name is that of {times[name] - 1} other rows"
        elif not name.isprintable() or "\\x" in name:
            found[row] = "its name holds bytes that are no text: the file may be damaged"
        elif is_audioset and not _AUDIOSET.fullmatch(name):
            found[row] = "its name is not Y<id>.wav, as the others are: the file may be damaged"
        elif have_suffix and not is_audioset and PurePosixPath(name).suffix != suffix:
            found[row] = (
                f"its name does not end with {suffix or 'no suffix'}, as the others do: the file may be damaged"
            )
    return found
