"""`glat demo`: a page to try a model in the browser."""

import os
import sys
import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from matplotlib import colormaps

from .. import __version__
from ..config import CropPooling
from ..demo.answer import Limits
from ..demo.server import DemoServer
from ..demo.table import FORMATS
from ..errors import UserError
from ..sharpening import EventsBy
from ..tagging.formats import text_format
from ..tagging.tagger import OVERLAP, Tagger
from ..terminal import Console
from ..text import shown
from ..urls import url_of
from .heard import load_tagger

PORT = 8642
_LEAVE_SECONDS = 10.0  # for the batch that is being heard


@dataclass(frozen=True)
class Demo:
    """Open a page to try a model: drop or record a sound, see and hear what decided."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a training run, or a checkpoint of PANNs (.pth) or TALNet (.pt), used as both streams; hf://owner/name
    of either on the Hugging Face Hub."""
    labels: Path | None = None
    """Class names of a checkpoint: AudioSet's class_labels_indices.csv, or a text file with one name per line."""
    best: bool = False
    """The weights of the run's best evaluation, in place of those of its last checkpoint."""
    streams: Literal["both", "global"] = "both"
    """global: the global stream alone, no crops."""
    crop_pooling: CropPooling | None = None
    """How the crops' probabilities become the local stream's score; default: as in training."""
    events_by: EventsBy | None = None
    """Which frame probabilities events are found by: frames, as the global stream says them, or sharpened, averaged
    with what both streams say of the clip and of each crop. Default: sharpened, but
    frames where the run keeps thresholds of these alone, and of weights that were trained on no crops."""
    overlap: float = OVERLAP
    """Overlap of neighbouring windows, as a share of a window from 0 to 0.9. A window is as long as a training clip."""
    batch_size: int | None = None
    """Windows per batch; default: 8 on a CPU, 32 on a GPU."""
    amp: bool = False
    """Mixed precision, where this device has it."""
    normalise_with: tuple[Path, ...] = ()
    """Recordings to estimate a normaliser from, for TALNet.pt, which lacks its own."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reached from this machine alone; 0.0.0.0 from the whole network."""
    port: int = PORT
    """Port to listen on; 0: any free one."""
    open: bool = False
    """Open the page in the browser."""
    max_minutes: float = 10.0
    """Longest sound that the page takes, up to 60."""
    max_mb: float = 200.0
    """Largest file that the page takes, in megabytes."""
    allow_code: str | None = None
    """Modules whose code may run, separated by commas: of a run that was trained with a network of your own (--backbone
    module:factory). Name only code that you trust; the module is found where Python looks, then in this folder."""

    def __call__(self) -> int:
        """Returns 0 after Ctrl-C."""
        return _demo(self)


def _demo(command: Demo) -> int:
    if not 0 < command.max_minutes <= 60:
        raise UserError(f"--max-minutes is {command.max_minutes:g}; give up to 60, and longer ones to glat tag")
    if not 0 < command.max_mb <= 4000:
        raise UserError(f"--max-mb is {command.max_mb:g}; give up to 4000")
    said = Console(stderr=True, soft_wrap=True)
    limits = Limits(round(command.max_mb * 1e6), command.max_minutes * 60)
    with DemoServer(command.host, command.port, limits) as server:
        server.tagger = tagger = load_tagger(command, command.source, command.normalise_with)
        server.about = _about(command, tagger, limits)
        said.print(f"{_named(command)} is at {server.url}, until Ctrl-C")
        if not server.is_local():
            said.print(
                "everybody in the network who reaches it can use it, without a password and unencrypted; their "
                "browsers let it record only on this machine (http://localhost) or through ssh -L"
            )
        if command.open:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _leave(server, said)
    return 0


def _leave(server: DemoServer, said: Console) -> None:
    """End what is being heard, after its batch: Python must not end under a thread that computes."""
    server.stopping.set()
    until = time.monotonic() + _LEAVE_SECONDS
    while server.turns.busy and time.monotonic() < until:
        time.sleep(0.05)
    said.print("ended; nothing of the sounds was kept")
    if server.turns.busy:
        sys.stderr.flush()
        os._exit(0)


def _named(command: Demo) -> str:
    """The source as it was named."""
    return url_of(command.source) or str(command.source)


def _about(command: Demo, tagger: Tagger, limits: Limits) -> dict[str, Any]:
    """What the page is told of the model."""
    return {
        "version": __version__,
        "model": shown(Path(_named(command)).name),
        "classes": [shown(label) for label in tagger.classes],
        "rate": tagger.sample_rate_hz,
        "clip_seconds": tagger.clip_seconds,
        "crop_seconds": tagger.crop_samples / tagger.sample_rate_hz,
        "streams": tagger.streams,
        "thresholds": tagger.thresholds.tolist(),
        "has_thresholds": bool((tagger.thresholds != 0.5).any()),
        "most_bytes": limits.most_bytes,
        "most_seconds": limits.most_seconds,
        "formats": {name: text_format(name).suffix for name in FORMATS},
        "palette": (colormaps["magma"](range(256))[:, :3] * 255).round().astype(int).tolist(),
    }
