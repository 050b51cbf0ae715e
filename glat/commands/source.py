"""The flags that say where the recordings are, shared by the commands that read them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data.recordings.audioset import read_audioset, with_display_names
from ..data.recordings.manifest import Manifest, read_manifest
from ..data.recordings.table_format import TableFormat
from ..data.windows.timeline import MIN_OVERLAP_SECONDS
from ..errors import UserError


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """Either --data, or AudioSet's tables."""

    data: Path | None = None
    """A folder with one sub-folder a class; a CSV or TSV with columns file, label and optionally fold, and onset and
    offset where times are known; selection tables of Raven or label tracks of Audacity; hf-dataset:FOLDER, a saved data
    set of Hugging Face's datasets."""
    file_column: str = "file"
    """The column of a CSV or TSV that names the files."""
    label_column: str = "label"
    """The column of a CSV or TSV with the labels."""
    label_separator: str = ";"
    """What joins several labels of one file in a CSV or TSV."""
    audioset: Path | None = None
    """One of AudioSet's segment tables, e.g. balanced_train_segments.csv."""
    labels: Path | None = None
    """AudioSet's class_labels_indices.csv."""
    audio: Path | None = None
    """The folder of AudioSet's recordings, named Y<id>.wav or <id>_<start>_<end>.flac, or of the files that a table of
    --data names."""
    negatives: Path | None = None
    """Recordings in which no class sounds, beside those of --data: a folder or a list of files."""
    windows: Literal["auto", "on", "off"] = "auto"
    """Hear long recordings whole, in windows as long as a clip; off: their beginnings. auto: on where times are
    labelled, and where more than a third of the audio would go unheard."""
    min_overlap: float = MIN_OVERLAP_SECONDS
    """Seconds that an event must sound in a window to be a label of it."""
    black_list: tuple[Path, ...] = ()
    """Lists of AudioSet's segments to leave out, e.g. those of DCASE 2017 task 4."""

    def manifest(self) -> Manifest:
        """The recordings that the flags name.

        Raises:
            UserError: not exactly one source, or AudioSet without its tables; as of `read_manifest` and
                `read_audioset`.
        """
        if not 0 <= self.min_overlap <= 3600:
            raise UserError(f"--min-overlap {self.min_overlap:g}; give seconds from 0 to 3600, such as 0.3")
        tables = {"--audioset": self.audioset, "--labels": self.labels, "--audio": self.audio}
        given = [flag for flag, path in tables.items() if path is not None]
        if self.data is not None:
            if self.audioset is not None or self.black_list:
                flag = "--black-list" if self.audioset is None else "--audioset"
                raise UserError(f"--data and {flag} exclude each other; give one source")
            columns = TableFormat(self.file_column, self.label_column, self.label_separator)
            listed = read_manifest(self.data, columns, audio=self.audio, negatives=self.negatives)
            return listed if self.labels is None else with_display_names(listed, self.labels)
        if self.negatives is not None:
            raise UserError(f"--negatives {self.negatives} goes with --data; leave it out")
        if self.audioset is None or self.labels is None or self.audio is None:
            seen = f"only {' '.join(given)} seen" if given else "none seen"
            raise UserError(f"recordings are wanted, {seen}; give --data, or --audioset, --labels and --audio")
        return read_audioset(self.audioset, self.labels, self.audio, self.black_list)
