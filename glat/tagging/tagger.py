"""`Tagger`: a trained model that tags audio of any length; ``glat.load`` makes one."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import real, whole
from ..errors import UserError
from ..export import sounds, write
from ..export.check import TOLERANCE, Parity
from ..export.facts import describe
from ..export.sounds import Sounds
from ..model import GlobalLocal
from ..sharpening import EVENTS_BY, EventsBy
from .hearing import Listener, Streams
from .origin import Origin
from .pipeline import Outcome, Start, hear
from .reading import ArraySource, FileSource, Source
from .recording import Recording
from .tags import Tags
from .windows import Grid

OVERLAP = 0.25  # enough that no dip is left where windows meet: docs/tagging.md has the measurement

Audio = str | Path | NDArray[Any] | torch.Tensor

MOST_CHANNELS = 64  # an array [S, channels] would be S recordings of some samples, and take hours


def events_by_of(asked: EventsBy | None, streams: Streams) -> EventsBy:
    """What events are found by, where `asked` is what somebody asked for; None: the default.

    Raises:
        UserError: sharpened frames without a local stream; something else.
    """
    if asked is None:
        return EVENTS_BY if streams == "both" else "frames"
    if asked not in get_args(EventsBy):
        raise UserError(f"events_by is {asked!r}; give one of {', '.join(get_args(EventsBy))}")
    if asked == "sharpened" and streams == "global":
        raise UserError("frames are sharpened by the local stream, and streams is global; leave one of the two out")
    return asked


class Tagger:
    """A trained model that says what sounds in recordings, and when. Calls from several threads are safe.

    A recording of any length is heard in windows of the length that the model was trained on, which overlap. Files and
    arrays are decoded and resampled block by block.

    Args:
        model: it is copied for inference and left as it is.
        classes: L names, in the model's order.
        clip_samples: S, samples of a window.
        thresholds: [L], least frame probability of an event, by class, of the frames that `events_by` says.
        tag_thresholds: [L], least fused probability of a window that has the class.
        device: where the model runs.
        dtype: what its networks compute in: torch.float32, torch.bfloat16 or torch.float16.
        streams: "both", or "global" to leave the local stream out.
        overlap: share of a window that the next one hears again, 0 to 0.9.
        batch_size: windows at a time; None: 8 on a CPU, 32 elsewhere.
        events_by: what events are found by: "frames", the frame probabilities as the global stream says them, or
            "sharpened", averaged with what both streams say of the clip and of the crops (`glat.sharpening`); None: as
            `glat.sharpening.EVENTS_BY` says, and frames where the local stream is left out.
        plain_thresholds: [L], of the frames as they are, for what is exported; None: `thresholds`.
        thresholds_from: where the thresholds come from, in words.
        origin: what the model is, for what is exported of it.

    Attributes:
        classes: L names.
        sample_rate_hz: what the model hears.
        clip_seconds: length of a window.
        thresholds, tag_thresholds: [L].
        events_by: what events are found by.

    Raises:
        UserError: values outside their range; a window too short for the model.
    """

    def __init__(
        self,
        model: GlobalLocal,
        classes: Sequence[str],
        clip_samples: int,
        thresholds: NDArray[np.float32],
        tag_thresholds: NDArray[np.float32],
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        streams: Streams = "both",
        overlap: float = OVERLAP,
        batch_size: int | None = None,
        events_by: EventsBy | None = None,
        plain_thresholds: NDArray[np.float32] | None = None,
        thresholds_from: str = "0.5",
        origin: Origin | None = None,
    ) -> None:
        overlap = real("overlap", overlap, 0, 0.9)
        if batch_size is not None:
            batch_size = whole("batch_size", batch_size, 1)
        if streams not in get_args(Streams):
            raise UserError(f"streams is {streams!r}; give one of {', '.join(get_args(Streams))}")
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise UserError(f"dtype is {dtype}; give torch.float32, torch.bfloat16 or torch.float16")
        self.events_by = events_by_of(events_by, streams)
        self._listener = Listener(model, clip_samples, device, dtype, streams)
        self.classes = tuple(classes)
        self.sample_rate_hz = model.global_.sample_rate_hz
        self.clip_seconds = clip_samples / self.sample_rate_hz
        self.crop_samples = model.crop_samples
        self.thresholds, self.tag_thresholds = thresholds, tag_thresholds
        self.streams: Streams = streams
        self.thresholds_from = thresholds_from
        self._plain_thresholds = thresholds if plain_thresholds is None else plain_thresholds
        self.origin = origin
        self.grid = Grid.of(clip_samples, self._listener.frames, self.sample_rate_hz, overlap)
        self.batch_size = batch_size or (8 if device.type == "cpu" else 32)

    @overload
    def tag(self, audio: list[Audio] | tuple[Audio, ...], sample_rate_hz: int | None = None) -> list[Tags]: ...
    @overload
    def tag(
        self, audio: list[Audio] | tuple[Audio, ...], sample_rate_hz: int | None = None, *, errors: Literal["return"]
    ) -> list[Tags | UserError]: ...
    @overload
    def tag(self, audio: Audio, sample_rate_hz: int | None = None) -> Tags: ...
    def tag(
        self, audio: Any, sample_rate_hz: int | None = None, *, errors: Literal["raise", "return"] = "raise"
    ) -> Any:
        """Tag a recording, or several in common batches.

        Args:
            audio: a file (str or Path); samples [S] as an array or tensor, floating with full scale ±1 or int16 with
                ±32767, of any length; or a list of these, also as an array [B, S].
            sample_rate_hz: of the samples; files bring their own.
            errors: of a list, what becomes of recordings that cannot be read: "raise" the first error, or "return" each
                in its recording's place, so that the others are not lost.

        Returns:
            A `Tags`; of several a list, in their order.

        Raises:
            UserError: audio that cannot be read, samples that are no audio, samples without their rate.
        """
        many = isinstance(audio, list | tuple) or (isinstance(audio, np.ndarray | torch.Tensor) and audio.ndim == 2)
        if many and not isinstance(audio, list | tuple) and audio.shape[1] <= MOST_CHANNELS < audio.shape[0]:
            raise UserError(
                f"the array has the shape {list(audio.shape)}, which looks like samples by channels; wanted [S], one "
                "channel, such as audio.mean(1), or several recordings [B, S]"
            )
        if errors not in ("raise", "return"):
            raise UserError(f"errors is {errors!r}; give 'raise' or 'return'")
        sources = [self._source(item, sample_rate_hz) for item in (audio if many else [audio])]
        found: list[Tags | UserError] = []
        for outcome in self.hear(sources, lambda i: self.recording(sources[i].name, keep=True)):
            if outcome.error is not None:
                if errors == "raise" or not many:
                    raise outcome.error
                found.append(outcome.error)
                continue
            assert outcome.recording is not None
            found.append(outcome.recording.finish(outcome.samples, self.thresholds)[0])
        return found if many else found[0]

    def export(
        self,
        path: str | Path,
        *,
        check: Sequence[str | Path] = (),
        tolerance: float = TOLERANCE,
        overwrite: bool = False,
    ) -> Parity:
        """Write the whole model, from the waveform of a window to its probabilities and crops, for other programs.

        The file is read back and compared with this model before it takes its place: docs/export.md.

        Args:
            path: OUT.onnx for ONNX Runtime and others (needs ``pip install 'glat[export]'``), or OUT.pt2 for
                ``torch.export.load``, which needs no glat.
            check: recordings to compare on; without them those that a run was trained on, where they are at hand, else
                synthesised soundscapes.
            tolerance: largest difference of a probability, 1e-5 or what you can do with.
            overwrite: replace a file that is no export, too.

        Returns:
            What was compared, and how far the two lie apart.

        Raises:
            UserError: a path that is no place for it, a network that cannot be exported, recordings that cannot be
                read, or a file that says something else than the model: then nothing is written.
        """
        if self.streams != "both":
            raise UserError("streams is 'global', and an export holds both streams; load the model with both")
        tolerance = real("tolerance", tolerance, 0, 1)
        to = write.output("path", Path(path), overwrite, tuple(Path(file) for file in check))
        model = deepcopy(self._listener.model).cpu()
        clip_samples, rate = self.grid.clip_samples, self.sample_rate_hz
        facts = describe(
            model,
            self.classes,
            clip_samples,
            self.grid.frames,
            self._plain_thresholds,
            self.tag_thresholds,
            {} if self.origin is None else self.origin.describe(),
        )

        def some_sounds() -> Sounds:
            if check:
                return sounds.of_files([Path(file) for file in check], rate, clip_samples)
            if self.origin is None or self.origin.data is None:
                return sounds.synthesised(rate, clip_samples)
            return sounds.of_run(self.origin.data, self.origin.seed, rate, clip_samples)

        return write.export_model(model, clip_samples, facts, to, some_sounds, tolerance)

    def recording(self, name: str, **options: Any) -> Recording:
        """What gathers the windows of one recording; `options` as of `Recording`."""
        return Recording(name, self.grid, self.classes, self.crop_samples, events_by=self.events_by, **options)

    def hear(
        self,
        sources: Sequence[Source],
        make: Callable[[int], Recording],
        *,
        threads: int = 1,
        start: Start | None = None,
        report: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Outcome]:
        """See `pipeline.hear`."""
        return hear(
            self._listener,
            self.grid,
            sources,
            make,
            batch_size=self.batch_size,
            threads=threads,
            start=start,
            report=report,
        )

    @staticmethod
    def _source(audio: Any, sample_rate_hz: int | None) -> Source:
        if isinstance(audio, str | Path):
            return FileSource(Path(audio))
        if isinstance(audio, torch.Tensor):
            audio = audio.detach().cpu()
            audio = audio.float().numpy() if audio.is_floating_point() else audio.numpy()  # NumPy has no bfloat16
        elif not isinstance(audio, np.ndarray):
            raise UserError(f"cannot tag {audio!r:.80}; give a file, samples as an array or tensor, or a list of these")
        if sample_rate_hz is None:
            raise UserError("samples need their rate: tag(samples, sample_rate_hz)")
        return ArraySource(audio, int(real("sample_rate_hz", sample_rate_hz, 1_000, 1_000_000)))
