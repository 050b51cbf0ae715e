"""Recordings that stay encoded until they are heard: single files, and members of WebDataset's tar files."""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import UserError, first_line
from .. import remote
from ..clips import ClipSource, Skipped
from ..names import clean
from ..parallel import in_parallel
from ..targets import Targets
from . import foreign
from .audio import hear, rounded_up, to_int16
from .containers import opened
from .decoding import Header, UnreadableAudio, read_header
from .folders import AUDIO_SUFFIXES
from .recording import Recording
from .resample import resampled_length

_LABEL_SUFFIXES = (".txt", ".cls", ".json")
_MOST_LABEL_BYTES = 1 << 20
_LONGEST_LABEL = 1_000  # characters


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedClips(ClipSource):
    """A source of files, or of pieces of files; samples of other rates are resampled as they are read."""

    files: tuple[Path, ...]
    file: NDArray[np.int32]  # [M], index into files
    offsets: NDArray[np.int64]  # [M], of the clip's first byte; -1: the file is the clip
    sizes: NDArray[np.int64]  # [M], in bytes
    frames: NDArray[np.int64]  # [M], samples at the clip's own rate
    rates_hz: NDArray[np.int32]  # [M]
    is_integer: NDArray[np.bool_]  # [M], as of `Header`, and the next two
    is_plain: NDArray[np.bool_]  # [M]
    channels: NDArray[np.int32]  # [M]
    formats: frozenset[str]  # libsndfile's names

    storage = "files"
    wave_dtype = torch.float32
    row_arrays = ("file", "offsets", "sizes", "frames", "rates_hz", "is_integer", "is_plain", "channels")

    def read(self, row: int) -> NDArray[np.int16]:
        """The valid samples of a clip.

        Raises:
            UnreadableAudio: as of `read_samples`.
        """
        return to_int16(self.read_samples(row))

    def read_samples(self, row: int) -> NDArray[np.float32]:
        """The valid samples of a clip, full scale ±1.

        Raises:
            UnreadableAudio: gone, or gone bad since the source was opened; a peak above twice full scale; silence.
        """
        return self.hear(row)[0]

    def hear(self, row: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """See `ClipSource.hear`; errors as of `read_samples`."""
        path = self.files[self.file[row]]
        stream = None if self.offsets[row] < 0 else BytesIO(self.read_bytes(row))
        seconds = self.clip_samples / self.sample_rate_hz
        heard = hear(path, self.sample_rate_hz, max_seconds=seconds, stream=stream)
        return heard.samples, tuple(remark for remark in heard.remarks if remark not in self.known_of(row))

    def known_of(self, row: int) -> tuple[str, ...]:
        """What was odd about a clip when the source was opened."""
        return self.remarks[row] if self.remarks else ()

    def read_bytes(self, row: int) -> bytes:
        """A clip as it is stored.

        Raises:
            UnreadableAudio: the file is gone, cannot be read or has another length than when the source was opened.
        """
        path, offset, size = self.files[self.file[row]], int(self.offsets[row]), int(self.sizes[row])
        if remote.is_remote(path):
            return remote.read_range(path, offset, size)
        try:
            if not path.is_file():  # opening a pipe would wait for ever
                raise UnreadableAudio(path, "is no regular file" if path.exists() else "no such file")
            with path.open("rb", buffering=0) as file:
                if offset < 0 and os.fstat(file.fileno()).st_size != size:
                    raise UnreadableAudio(path, "has changed since it was listed")
                file.seek(max(0, offset))
                data = file.read(size)
        except OSError as error:
            raise UnreadableAudio(path, f"cannot be read ({error.strerror})") from error
        if len(data) != size:
            raise UnreadableAudio(path, "is cut off")
        return data


@dataclass(frozen=True)
class _Item:
    """A recording and where it lies."""

    name: str
    path: Path
    offset: int
    size: int
    labels: tuple[str, ...]


def encoded_from_manifest(
    recordings: Sequence[Recording],
    classes: tuple[str, ...],
    *,
    sample_rate_hz: int,
    clip_seconds: float | None,
    workers: int | None = None,
) -> tuple[EncodedClips, tuple[Skipped, ...]]:
    """Open recordings without decoding them.

    Args:
        recordings: from `read_manifest`.
        classes: all labels of the recordings, and perhaps more.
        sample_rate_hz: what clips are resampled to.
        clip_seconds: longer recordings are cut, shorter ones padded with zeros. None: 10 s, or the longest recording
            where that is shorter, rounded up to 0.1 s.
        workers: threads; None: one a core.

    Returns:
        The source, and the recordings whose header is missing or says that they are damaged.

    Raises:
        UserError: no readable recording.
    """
    items = [_Item(r.name, r.path, r.offset, r.size, r.labels) for r in recordings]
    return _open(items, [], classes, sample_rate_hz, clip_seconds, workers)


def encoded_from_tar(
    paths: Sequence[Path],
    *,
    sample_rate_hz: int,
    clip_seconds: float | None,
    classes: tuple[str, ...] | None = None,
    workers: int | None = None,
) -> tuple[EncodedClips, tuple[Skipped, ...]]:
    """Open WebDataset's tar files without decoding their clips; each is scanned once.

    A clip is the audio ``key.wav`` (or .flac, .ogg, ...) with its labels in ``key.txt`` or ``key.cls``, several
    joined by ``;`` or one a line, or in ``key.json``: a list of labels, or an object with it as ``labels`` or
    ``label``. No label in such a file: a clip of no class. A whole number is an index into `classes`, where these are
    given and none of them is a number itself.

    Args:
        paths: uncompressed tar files.
        sample_rate_hz, clip_seconds, workers: as of `encoded_from_manifest`.
        classes: None: all labels that occur, sorted.

    Returns:
        The source, and the clips without a file of labels, with unknown ones, or that are seen to be damaged.

    Raises:
        UserError: a file that is no uncompressed tar; no readable clip.
    """
    items: list[_Item] = []
    skipped: list[Skipped] = []
    for path in paths:
        for name, offset, size, labels in _members(path, skipped):
            found = [_class_name(label, classes) for label in labels or ()]
            if labels is None:
                skipped.append(Skipped(name, f"has no labels beside it ({', '.join(_LABEL_SUFFIXES)})"))
            elif classes is not None and not set(found) <= set(classes):
                skipped.append(Skipped(name, f"has the unknown label {min(set(found) - set(classes))!r}"))
            else:
                items.append(_Item(name, path, offset, size, tuple(found)))
    if classes is None:
        classes = tuple(sorted({label for item in items for label in item.labels}))
    return _open(items, skipped, classes, sample_rate_hz, clip_seconds, workers)


def _open(
    items: Sequence[_Item],
    skipped: list[Skipped],
    classes: tuple[str, ...],
    sample_rate_hz: int,
    clip_seconds: float | None,
    workers: int | None,
) -> tuple[EncodedClips, tuple[Skipped, ...]]:
    sizes = {path: remote.size_of(path) for path in {item.path for item in items} if remote.is_remote(path)}

    def look(i: int) -> tuple[Header, int] | Skipped:
        item = items[i]
        try:
            if item.offset < 0:
                header, size = read_header(item.path), item.path.stat().st_size
            else:
                with remote.opened(item.path, sizes.get(item.path)) as file:
                    stream = opened(file, ((item.offset, item.offset + item.size),))
                    header, size = read_header(item.path, stream), item.size
            if not resampled_length(header.frames, header.rate_hz, sample_rate_hz):
                raise UnreadableAudio(item.path, f"holds no samples at {sample_rate_hz} Hz")
        except UnreadableAudio as error:
            return Skipped(item.name, error.reason)
        except OSError as error:  # removed between two looks
            return Skipped(item.name, f"cannot be opened ({error.strerror})")
        return header, size

    found = in_parallel(look, len(items), workers)
    skipped += [skip for skip in found if isinstance(skip, Skipped)]
    kept = [(item, *seen) for item, seen in zip(items, found, strict=True) if not isinstance(seen, Skipped)]
    if not kept:
        example = f" (one of them: {skipped[-1].file}: {skipped[-1].reason})" if skipped else ""
        raise UserError(f"none of {len(items)} recordings can be read{example}; check the files")
    frames = np.array([header.frames for _, header, _ in kept], np.int64)
    rates_hz = np.array([header.rate_hz for _, header, _ in kept], np.int32)
    clip_samples = round((10.0 if clip_seconds is None else clip_seconds) * sample_rate_hz)
    lengths = resampled_length(frames, rates_hz.astype(np.int64), sample_rate_hz)
    if clip_seconds is None:
        clip_samples = min(clip_samples, rounded_up(int(lengths.max()), sample_rate_hz))
    files = {path: i for i, path in enumerate(dict.fromkeys(item.path for item, _, _ in kept))}
    column = {label: i for i, label in enumerate(classes)}
    source = EncodedClips(
        files=tuple(files),
        file=np.array([files[item.path] for item, _, _ in kept], np.int32),
        offsets=np.array([item.offset for item, _, _ in kept], np.int64),
        sizes=np.array([size for _, _, size in kept], np.int64),
        frames=frames,
        rates_hz=rates_hz,
        is_integer=np.array([header.is_integer for _, header, _ in kept]),
        is_plain=np.array([header.is_plain for _, header, _ in kept]),
        channels=np.array([header.channels for _, header, _ in kept], np.int32),
        lengths=np.minimum(lengths, clip_samples),
        formats=frozenset(header.format for _, header, _ in kept),
        names=tuple(item.name for item, _, _ in kept),
        remarks=tuple(header.remarks for _, header, _ in kept),
        targets=Targets.from_labels(([column[label] for label in item.labels] for item, _, _ in kept), len(column)),
        classes=classes,
        sample_rate_hz=sample_rate_hz,
        clip_samples=clip_samples,
    )
    return source, tuple(skipped)


def _members(path: Path, skipped: list[Skipped]) -> Iterator[tuple[str, int, int, list[str] | None]]:
    """(name, offset, size, labels or None) of every sound in a tar file; what cannot be read is added to `skipped`."""
    others: Counter[str] = Counter()  # members that are neither, by suffix
    audio: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, list[str]] = {}
    try:
        bytes_there = remote.size_of(path)
        with remote.opened(path) as file, tarfile.open(path, "r:", file) as tar:
            while (member := _next(tar, path, skipped)) is not None:
                suffix = PurePosixPath(member.name).suffix
                stem = member.name.removesuffix(suffix)
                if member.isdir():
                    continue
                if not member.isfile():
                    skipped.append(Skipped(f"{path.name}/{member.name}", "is a link or device, and no file of its own"))
                elif suffix.lower() in AUDIO_SUFFIXES or (
                    suffix.lower() in foreign.SUFFIXES and foreign.is_available()
                ):
                    if member.issparse():
                        skipped.append(Skipped(f"{path.name}/{member.name}", "is stored sparse; write the tar anew"))
                    elif stem in audio:
                        skipped.append(Skipped(f"{path.name}/{member.name}", "has the key of another recording"))
                    elif member.offset_data + member.size > bytes_there:
                        skipped.append(Skipped(f"{path.name}/{member.name}", "is cut off, as the tar file is"))
                    else:
                        audio[stem] = member
                elif suffix.lower() in _LABEL_SUFFIXES:
                    try:
                        found = _read_labels(tar, member, suffix.lower())
                        labels.setdefault(stem, []).extend(found)
                    except (ValueError, RecursionError) as error:
                        reason = first_line(error)[:100]
                        skipped.append(Skipped(f"{path.name}/{member.name}", f"holds no labels ({reason})"))
                else:
                    others[suffix.lower()] += 1
                tar.members.clear()  # type: ignore[attr-defined]  # the stubs lack it; else it keeps all it has seen
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{path}: cannot be read as an uncompressed tar file ({error}); write it with tar -cf"
        ) from error
    for suffix, count in sorted(others.items()):
        what = foreign.advice(suffix) if suffix in foreign.SUFFIXES else "they are neither sounds nor labels"
        skipped.append(Skipped(path.name, f"{count} members {suffix or 'without a suffix'}: {what}"))
    for stem, member in audio.items():
        of_clip = labels.get(stem)
        name = f"{path.name}/{member.name}"
        yield name, member.offset_data, member.size, None if of_clip is None else sorted(set(of_clip))


def _next(tar: tarfile.TarFile, path: Path, skipped: list[Skipped]) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except tarfile.ReadError as error:
        skipped.append(Skipped(str(path), f"is cut off or damaged ({error}); what follows is left out"))
        return None


def _read_labels(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> Iterable[str]:
    """The labels in a member; ValueError where there can be none."""
    if member.issparse() or member.size > _MOST_LABEL_BYTES:
        raise ValueError(f"{member.size} bytes{', stored sparse' if member.issparse() else ''}")
    text = tar.extractfile(member)
    assert text is not None  # of a regular file there is always one
    labels = list(_parse_labels(suffix, text.read()))
    if any(len(label) > _LONGEST_LABEL for label in labels):
        raise ValueError(f"a label of {max(map(len, labels))} characters")
    return labels


def _parse_labels(suffix: str, data: bytes) -> Iterable[str]:
    value = data.decode()
    if suffix == ".json":
        parsed = json.loads(value)
        if isinstance(parsed, dict):
            parsed = parsed["labels"] if "labels" in parsed else parsed.get("label")
            if parsed is None:
                raise ValueError("neither labels nor label is there, or it is null")
        parts = parsed if isinstance(parsed, list) else [parsed]
        if not all(isinstance(part, str | int | float) for part in parts):
            raise ValueError("labels that are neither text nor numbers")
        value = ";".join(str(part) for part in parts)
    return [label for part in value.splitlines() for label in map(clean, part.split(";")) if label]


def _class_name(label: str, classes: tuple[str, ...] | None) -> str:
    if classes is None or not label.isdecimal() or len(label) > 9 or int(label) >= len(classes):
        return label
    # Where classes are called by numbers, another number is another class, and no index.
    return label if any(name.isdecimal() for name in classes) else classes[int(label)]
