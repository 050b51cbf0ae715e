"""How much of the machine's memory decoded recordings may take."""

import os
from pathlib import Path

from ..parallel import local_processes

# Over all processes of a run; beyond it recordings stay files. Decoding copies no more than it keeps.
SHARE = 0.25


def have_room(samples: int) -> bool:
    """Whether every process of this machine may hold so many samples as int16."""
    return 2 * samples * local_processes() <= SHARE * memory_bytes()


def memory_bytes() -> int:
    """Of the machine, or of the container where it has less; where that is not to be had, 8 GiB."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(allowed)) if allowed.isdecimal() else total
