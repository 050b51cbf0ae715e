"""`glat push`: a run onto the Hugging Face Hub, with a card."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import UserError
from ..evaluation.events.scores import event_scores
from ..files import writing
from ..hub.card import LICENSE, card
from ..hub.fetch import INSTALL, NAME
from ..hub.package import package
from ..hub.push import CARD, push
from ..runs.folder import Run, open_run
from ..runs.results import read_evaluation
from ..terminal import Console
from ..text import size
from .evaluate import Evaluate


@dataclass(frozen=True)
class Push:
    """Push a run onto the Hugging Face Hub, with a card written from it."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a training run."""
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Where to push it: owner/name."""
    best: bool = False
    """Push the weights of the run's best evaluation, in place of those of its last checkpoint."""
    private: bool = False
    """Make the new repository private."""
    revision: str | None = None
    """Branch to push to, made where it is missing; default: main."""
    license: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Licence of the weights, as the hub names it, such as cc-by-4.0 or mit. Without it the card says that none is
    chosen yet."""
    evaluation: Path | None = None
    """Scores for the card: what `glat evaluate --run RUN --json FILE` wrote. Without it the run is evaluated now, on
    its own evaluation clips."""
    score: bool = True
    """Evaluate the run now, for the card. --no-score: the card shows the scores of the run's end, without intervals."""
    dry_run: Path | None = None
    """Write the files into this folder, which is new or empty, and push nothing."""
    overwrite: bool = False
    """Replace a card that is there already, and another program's model."""
    allow_code: str | None = None
    """Modules whose code may run in the evaluation, separated by commas: of a run with a network of your own."""

    def __call__(self) -> int:
        """Returns 0."""
        return _push(self)


def _push(command: Push) -> int:
    if not NAME.fullmatch(command.name):
        raise UserError(f"{command.name} is no name of a repository; give owner/name, and a branch as --revision")
    if command.evaluation is not None and not command.score:
        raise UserError("--evaluation and --no-score exclude each other; give one")
    out = command.dry_run
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--dry-run {out} exists and is no empty folder; choose another")
    try:
        import huggingface_hub  # noqa: F401  # before minutes of evaluation
    except ImportError:
        raise UserError(f"glat push: {INSTALL}") from None
    console = Console(soft_wrap=True)
    run = open_run(command.run)
    with tempfile.TemporaryDirectory(prefix="glat-push-") as temporary:
        folder = Path(temporary)
        packed = package(run, folder, command.best)
        found = _evaluation(command, run)
        (folder / CARD).write_text(
            card(packed, command.name, found, command.license, command.revision), encoding="utf-8"
        )
        for line in packed.notes:
            console.print(line)
        sizes = (f"{path.name} {size(path.stat().st_size)}" for path in sorted(folder.iterdir()))
        console.print(f"files: {', '.join(sizes)}")
        if out is not None:
            with writing(f"--dry-run {out}"):
                out.mkdir(exist_ok=True)
                for path in folder.iterdir():
                    shutil.copyfile(path, out / path.name)
            console.print(f"written to {out}; nothing was pushed")
        else:
            where, notes = push(
                folder,
                command.name,
                private=command.private,
                revision=command.revision,
                overwrite=command.overwrite,
            )
            for line in notes:
                console.print(line)
            console.print(f"pushed: {where}")
            at = f"@{command.revision}" if command.revision else ""
            console.print(f"use it: glat tag FILE --run hf://{command.name}{at}{' --best' * command.best}")
    if command.license is None:
        console.print(
            f"no licence is chosen: the card says license: {LICENSE}; fill it in, or push with --license cc-by-4.0"
        )
    return 0


def _evaluation(command: Push, run: Run) -> dict[str, Any] | None:
    """Scores of the weights that are pushed."""
    if command.evaluation is not None:
        return _given(command, command.evaluation)
    if not command.score:
        return None if command.best else read_evaluation(run.folder)
    with tempfile.TemporaryDirectory(prefix="glat-push-") as folder:
        path = Path(folder) / "evaluation.json"
        try:
            Evaluate(run=run.folder, best=command.best, allow_code=command.allow_code, json=path)()
        except UserError as error:
            raise UserError(
                f"the run cannot be evaluated for its card: {error}. Give --evaluation FILE, or --no-score"
            ) from None
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _given(command: Push, path: Path) -> dict[str, Any]:
    wanted = f"give what glat evaluate --run {command.run}{' --best' * command.best} --json FILE wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        run, best = Path(found["run"]), found["best"]
        for stream in ("global", "local", "fused"):
            found["streams"][stream]["mAP"], found["clips"], found["clips_sha256"]
        if "events" in found:
            event_scores(found["events"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--evaluation {path} cannot be read ({error!r}); {wanted}") from None
    if run.resolve() != command.run.resolve() or best != command.best:
        raise UserError(f"--evaluation {path} is of {run}{', its best weights' * bool(best)}; {wanted}")
    return dict(found)
