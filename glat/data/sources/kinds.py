"""What kind of data a file or folder holds."""

from pathlib import Path

from ...errors import UserError
from ...urls import url_of
from ..packs.read import is_pack
from ..remote import children, is_folder, is_remote

RECORDINGS, PACKS, TARS = "recordings", "packs", "tar files"


def kind_of(data: Path) -> str:
    """`RECORDINGS`, `PACKS` or `TARS`.

    Raises:
        UserError: packs or tar files beside folders; a URL of neither packs nor tar files.
    """
    if is_remote(data):
        kind = TARS if tar_files(data) else PACKS
        if kind == PACKS and not is_pack(data):
            raise UserError(f"--data {url_of(data)}: neither packs (.h5) nor tar files; of other kinds copy them here")
        return kind
    if data.suffix == ".tar" or (data.is_dir() and tar_files(data)):
        kind = TARS
    else:
        kind = PACKS if data.exists() and is_pack(data) else RECORDINGS
    if kind != RECORDINGS and data.is_dir():
        folders = [path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if folders:  # an archive beside the class folders that came out of it
            raise UserError(f"--data {data} holds {kind} and the folder {min(folders)}; move one of the two elsewhere")
    return kind


def check_label_threshold(threshold: float | None, *sources: Path | None) -> None:
    """Raise UserError where ``--label-threshold`` is no probability, or no source that is given holds packs."""
    if threshold is None:
        return
    if not 0 < threshold <= 1:
        raise UserError(f"--label-threshold {threshold:g}; give a probability above 0 and at most 1, such as 0.5")
    kinds = {path: kind_of(path) for path in sources if path is not None}
    if PACKS not in kinds.values():
        seen = ", ".join(f"{path} holds {kind}" for path, kind in kinds.items()) or "AudioSet's tables name recordings"
        raise UserError(f"--label-threshold {threshold:g} is for soft labels of packs, and {seen}; leave it out")


def tar_files(data: Path) -> list[Path]:
    """The tar files of a folder, sorted by name; a file alone, whatever it is called."""
    if is_remote(data):
        found = children(data) if is_folder(data) else [data]
        return sorted(path for path in found if path.suffix == ".tar")
    if not data.is_dir():
        return [data]
    return sorted(path for path in data.iterdir() if path.suffix == ".tar" and not path.name.startswith("."))
