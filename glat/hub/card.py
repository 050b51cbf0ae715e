"""The card of a pushed run: README.md, with the front matter that the hub reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..backbones import BACKBONES
from ..config import PRESETS, DataConfig, TrainConfig
from ..costs import count_costs
from ..errors import UserError
from ..evaluation.events.scores import EVIDENCE, METRICS, SHORT
from ..evaluation.report import SCORES
from ..evaluation.score import STREAMS
from ..runs.folder import BEST_WEIGHTS, Run
from ..text import shown, size
from .package import Package

LICENSE = "unknown"  # an identifier that the hub knows
_MOST_CLASSES = 1000


def card(packed: Package, name: str, found: Mapping[str, Any] | None, licence: str | None, revision: str | None) -> str:
    """The text of README.md.

    Args:
        packed: what is pushed.
        name: owner/name.
        found: an evaluation of the pushed weights, as `glat evaluate --json` or a run's evaluation.json holds it.
        licence: the hub's identifier of a licence; None: to be filled in, which the card says.
        revision: where it is pushed, for the commands.
    """
    run = packed.run
    parts = [_front_matter(run, name, found, licence), f"# {shown(name)}", _what(run)]
    if licence is None:
        parts.append(
            "> **No licence yet.** Whoever owns these weights fills in `license:` at the top of this file (and removes "
            "this note); until then nobody knows what may be done with them."
        )
    parts += ["## Scores", _scores(run, found), "## Use", _use(packed, name, revision)]
    parts += ["## Data", _data(run, found), "## Costs", _costs(packed), "## Training", _training(run)]
    parts += [f"## Classes\n\n{_classes(run.classes)}", _files()]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: Run, name: str, found: Mapping[str, Any] | None, licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if found is not None:
        fused = found["streams"]["fused"]
        results = [
            EvalResult(
                task_type="audio-classification",
                task_name="Audio tagging",
                dataset_type="audio",
                dataset_name=_data_name(run.config.data),
                metric_type=key,
                metric_name=f"{title}, fused",
                metric_value=round(fused[key], 6),
            )
            for key, title in SCORES.items()
            if fused[key] is not None
        ]
    data = ModelCardData(
        license=licence or LICENSE,
        library_name="glat",
        pipeline_tag="audio-classification",
        tags=["glat", "audio-tagging", "sound-event-detection", "weakly-supervised", run.config.model.backbone],
        metrics=list(SCORES),
        model_name=name.partition("/")[2],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _what(run: Run) -> str:
    model = run.config.model
    networks = (
        model.backbone
        if model.local_backbone in (None, model.backbone)
        else f"{model.backbone} and {model.local_backbone}"
    )
    return (
        f"Says what sounds in a recording, of {len(run.classes)} classes, and which seconds say so: GL-AT (Wang, Zou, "
        f"Wang, [arXiv:2102.01931](https://arxiv.org/abs/2102.01931)) around {shown(networks)}, trained with glat. A "
        f"global stream hears clips of {_length(run)}, a local stream the {model.num_crops} crops of "
        f"{model.crop_seconds:g} s that decide."
    )


def _scores(run: Run, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "Not evaluated."
    lines = [f"| stream | {' | '.join(SCORES.values())} |", "|---|" + "---:|" * len(SCORES)]
    for stream in STREAMS:
        of_stream = found["streams"][stream]
        bounds = of_stream.get("intervals") or {}
        lines.append(f"| {stream} | {' | '.join(_cell(of_stream[key], bounds.get(key)) for key in SCORES)} |")
    how = f"On {found['clips']} evaluation clips (SHA-256 of their names {found['clips_sha256'][:16]}...)."
    if found.get("resamples"):
        how += f" In brackets: 95 % over {found['resamples']} resamples of the clips."
    else:
        how += " Without intervals: glat evaluate gives them."
    hits = found.get("hits")
    if hits and hits["crops"]:
        share = hits["overlapping"] / hits["crops"]
        how += (
            f" {share:.0%} of the crops of a present class overlap an event of that class; of crops at random, "
            f"{hits['by_chance']:.0%} would."
        )
    when = found.get("events")
    return "\n".join(lines) + f"\n\n{how}" + ("" if when is None else f"\n\n{_when(when)}")


def _when(found: Mapping[str, Any]) -> str:
    """Event metrics, as `EventScores.to_json` or `EventReport.to_json` holds them."""
    lines = [f"| when | {' | '.join(EVIDENCE)} |", "|---|" + "---:|" * len(EVIDENCE)]
    for metric in SHORT:
        of_evidence = [found["evidence"][evidence] for evidence in EVIDENCE]
        cells = [_cell(each["scores"][metric], (each.get("intervals") or {}).get(metric)) for each in of_evidence]
        lines.append(f"| {METRICS[metric]} | {' | '.join(cells)} |")
    how = (
        f"When each class sounds, of {found['events']} events of {found['classes']} classes, F1 {found['at']}: of the "
    )
    how += "global stream's frames, of the local stream's crops, and of frames sharpened by both."
    return "\n".join(lines) + f"\n\n{how}"


def _cell(value: float | None, bounds: Sequence[float | None] | None) -> str:
    def number(x: float | None) -> str:
        return "-" if x is None else f"{x:.3f}"

    return number(value) + (f" [{number(bounds[0])}, {number(bounds[1])}]" if bounds else "")


def _use(packed: Package, name: str, revision: str | None) -> str:
    at = f"hf://{name}" + (f"@{revision}" if revision else "")
    model = packed.run.config.model
    flags, arguments, note = "", "", ""
    if packed.weights == BEST_WEIGHTS:
        flags, arguments = " --best", ", best=True"
    own = [network for network in (model.backbone, model.local_backbone) if network and ":" in network]
    if own:
        modules = list(dict.fromkeys(network.partition(":")[0] for network in own))
        flags += f" --allow-code {','.join(modules)}"
        arguments += f", allow_code={modules!r}"
        note = f"\n\nIts network is its author's code ({', '.join(own)}), which is not here: install it first."
    lines = [
        "With glat and its extra `hub` (`pip install 'glat[hub]'`):\n",
        "```bash",
        f"glat tag street.wav --run {at}{flags}",
        f"glat evaluate --run {at}{flags} --data other.csv",
        f"glat train --data recordings/ --backbone {model.backbone} --init-from {at}",
        "```\n",
        "```python",
        "import glat\n",
        f'tagger = glat.load("{at}"{arguments})',
        'print(tagger.tag("street.wav").top(3))',
        "```",
    ]
    return "\n".join(lines) + note


def _data_name(data: DataConfig) -> str:
    if data.data is None:
        return "soundscapes of synthesised events"
    return shown(data.data.name)


def _data(run: Run, found: Mapping[str, Any] | None) -> str:
    data = run.config.data
    if data.data is None:
        what = "Built-in soundscapes of synthesised events: "
        what += f"{data.train_clips} to train on, {data.eval_clips} to evaluate on."
    else:
        what = f"Trained on `{_data_name(data)}`"
        what += f", mixed into {data.train_clips} soundscapes" if data.mix else ""
        if data.eval_data is not None:
            what += f"; evaluated on `{shown(data.eval_data.name)}`."
        elif data.eval_folds:
            what += f"; evaluated on its folds {shown(', '.join(data.eval_folds))}."
        else:
            what += "; evaluated on the fifth of it that was not trained on."
    evaluated = found.get("data") if found else None
    if evaluated and evaluated != "of the run":
        what += f" The scores above are of `{shown(str(evaluated).rpartition('/')[2])}`."
    return f"{what} No recordings are here. Digest of the clips and their labels: `{run.fingerprint[:16]}...`"


def _costs(packed: Package) -> str:
    run = packed.run
    model = run.config.model
    weights = (packed.folder / packed.weights).stat().st_size
    lines = f"{packed.parameters / 1e6:.2f} M parameters, {size(weights)}."
    if model.backbone not in BACKBONES or model.local_backbone not in (None, model.backbone):
        return lines
    seconds = _seconds(run)
    try:
        costs = count_costs(
            model.backbone, model.width or 1.0, len(run.classes), model.num_crops, model.crop_seconds, seconds
        )
    except UserError:
        return lines
    return (
        f"{lines} A clip of {seconds:g} s takes {costs.two_stream_flops / 1e9:.2f} GFLOP; the network alone would take "
        f"{costs.clip_flops / 1e9:.2f}."
    )


def _training(run: Run) -> str:
    flags = " ".join(f"--{name} {shown(value)}".rstrip() for name, value in flags_of(run.config))
    return f"The settings of this run, what was chosen for its machine included:\n\n```text\nglat train {flags}\n```"


def flags_of(config: TrainConfig) -> list[tuple[str, str]]:
    """The flags that differ from the preset's values, with what they are."""
    default = PRESETS[config.preset]()
    found = [("preset", config.preset)] if config.preset != TrainConfig.preset else []
    for part in ("model", "data", "feed", "optim", "run"):
        for key, value in vars(getattr(config, part)).items():
            if value == getattr(getattr(default, part), key) or value is None:
                continue
            flag = key.replace("_", "-")
            if isinstance(value, bool):
                found.append((flag if value else f"no-{flag}", ""))
            elif isinstance(value, tuple):
                found.append((flag, " ".join(map(str, value))))
            else:
                found.append((flag, f"{value:g}" if isinstance(value, float) else str(value)))
    return found


def _classes(classes: Sequence[str]) -> str:
    names = ", ".join(shown(label).replace("<", "&lt;").replace("|", r"\|") for label in classes[:_MOST_CLASSES])
    return names + (f", and {len(classes) - _MOST_CLASSES} more: config.json" if len(classes) > _MOST_CLASSES else ".")


def _files() -> str:
    return (
        "## Files\n\nWeights as safetensors, everything else as JSON; no code and no pickles. Each file carries a "
        "digest, which glat checks."
    )


def _length(run: Run) -> str:
    """How long its clips are; nobody's network is built, whose code would run, to learn its rate."""
    name = run.config.model.backbone
    return f"{_seconds(run):g} s" if name in BACKBONES else f"{run.clip_samples} samples"


def _seconds(run: Run) -> float:
    return run.clip_samples / BACKBONES[run.config.model.backbone].sample_rate_hz
