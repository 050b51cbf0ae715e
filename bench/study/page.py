"""Tables and pictures of docs/study.md, made from the study's results; the text between them is written by hand."""

import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from glat.files import replaced, to_json_text

from ..results import with_block
from .plan import CLAIMS, CONFIRMED, CONFIRMED_OF, EQUAL_COMPUTE, JOBS, RESNET38, SETTINGS, WHOLE, prefixed

Summary = Mapping[str, Any]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "study.md"

ROWS = {row.name: row for job in JOBS for row in job.rows}
SCORES = {"mAP": "mAP", "mAUC": "mAUC", "d_prime": "d'"}
ENSEMBLES = {"two": 2, "three": 3}


def blocks(summary: Summary) -> dict[str, str]:
    """What stands between the page's comments, by name."""
    makers: dict[str, Callable[[Summary], str]] = {
        "conditions": _conditions,
        "main": lambda s: _main(s, ""),
        "resnet38": lambda s: _main(s, RESNET38),
        "whole": lambda s: _main(s, WHOLE),
        "claims": lambda s: claims_table(s["differences"], CLAIMS, [prefix for prefix in SETTINGS if prefix != WHOLE]),
        "whole-claims": lambda s: claims_table(s["differences"], CLAIMS | CONFIRMED, (WHOLE,)),
        "confirmed": lambda s: claims_table(s["fresh"]["differences"], CONFIRMED, CONFIRMED_OF),
        "selection": _selection,
        "pooling": _pooling,
        "crops": lambda s: _crops(s, ""),
        "whole-crops": lambda s: _crops(s, WHOLE),
        "tuning": _tuning,
        "figure2": _figure2,
    }
    return {name: make(summary) for name, make in makers.items()}


def with_blocks(page: str, found: Mapping[str, str]) -> str:
    """The page with what stands between ``<!-- study: NAME -->`` and ``<!-- end -->`` replaced, for each of `found`."""
    for name, block in found.items():
        page = with_block("docs/study.md", page, f"<!-- study: {name} -->", "<!-- end -->", block)
    return page


def write_section(to: Path, results: str, found: Mapping[str, Any], blocks: Callable[[Any], dict[str, str]]) -> None:
    """Put results of a section of its own into ``to/study/``, and its blocks into the page in `to`."""
    (to / "study").mkdir(parents=True, exist_ok=True)
    with replaced(to / "study" / results) as temporary:
        temporary.write_text(to_json_text(found, indent=1) + "\n", encoding="utf-8")
    page = to / PAGE.name if (to / PAGE.name).exists() else PAGE
    text = with_blocks(page.read_text(encoding="utf-8"), blocks(json.loads(to_json_text(found))))
    with replaced(to / PAGE.name) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _conditions(s: Summary) -> str:
    scale, versions = s["scale"], s["versions"]
    seconds = sum(run["training_cpu_seconds"] for run in s["runs"])
    text = (
        f"{len(s['runs'])} runs, {seconds / 3600:.1f} hours of one core, at commit {', '.join(s['commits'])}; crops "
        f"and fresh clips scored at {', '.join(s['crops_at'])}: "
        f"{s['data']}, {scale['train_clips']} training and {scale['eval_clips']} evaluation clips of 10 s, "
        f"{len(s['classes'])} classes, batches of {scale['batch_size']}, {scale['steps']} steps (where not said "
        f"otherwise), width {scale['width']:g}, {s['precision']}, torch {versions['torch']}, {versions['platform']}."
    )
    return textwrap.fill(text, 120)


NOTHING = "Nothing of this has been run yet."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return NOTHING
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def value(found: Mapping[str, Any], how: str = ".3f") -> str:
    """Mean over seeds, its deviation between them, and the bootstrap interval."""
    low, high = found["interval"]
    spread = "" if found["deviation"] is None else f" ± {found['deviation']:.3f}"
    return f"{_number(found['mean'], how)}{spread} [{_number(low, how)}, {_number(high, how)}]"


def by_seed_of(difference: Mapping[str, Any]) -> str:
    """A difference with every seed."""
    return ", ".join(_number(x, "+.3f") for x in difference["by_seed"])


def _number(value: float | None, how: str = ".3f") -> str:
    return "–" if value is None else f"{value:{how}}"


def _mean(values: Sequence[float | None], how: str = ".3f") -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known) / len(known) if known else None, how)


def _seeds(found: Mapping[str, Any]) -> str:
    return str(len(found["seeds"]))


def _seconds_a_step(s: Summary, job: str) -> str:
    """Of runs that trained one row alone: the median over seeds."""
    found = sorted(r["training_cpu_seconds"] / r["steps"] for r in s["runs"] if r["job"] == job)
    return f"{found[len(found) // 2]:.3f}" if found else ""


def _main(s: Summary, prefix: str) -> str:
    if f"{prefix}alone" not in s["costs"]:
        return NOTHING
    alone = s["costs"][f"{prefix}alone"]["gflop"]
    lines: list[list[str]] = []

    def line(key: str, title: str, gflop: float, schedule: float, job: str = "") -> None:
        if key in s["rows"]:
            found = s["rows"][key]
            scores = [value(found[name]) for name in SCORES]
            cost = [f"{gflop:.3f}", f"{gflop * schedule / alone:.2f}", _seconds_a_step(s, job)]
            lines.append([title, *scores, *cost, _seeds(found)])

    line(f"{prefix}shorter/global", ROWS["shorter"].title, alone, 1 / EQUAL_COMPUTE, f"{prefix}shorter")
    line(f"{prefix}alone/global", "backbone alone", alone, 1.0, f"{prefix}alone")
    line(f"{prefix}longer/global", ROWS["longer"].title, alone, EQUAL_COMPUTE, f"{prefix}longer")
    for name, size in ENSEMBLES.items():
        line(f"{prefix}{name}-alone/global", f"{name} alone, averaged", size * alone, 1.0)
    glat = (s["costs"].get(f"{prefix}glat") or {"gflop": math.nan})["gflop"]
    # A run of GL-AT alone; the main row is trained beside its variants.
    job = f"{prefix}glat" if prefix else "glat-shorter"
    line(f"{prefix}glat-shorter/fused", f"{ROWS['glat-shorter'].title}, fused", glat, 1 / EQUAL_COMPUTE, job)
    line(f"{prefix}glat/global", "GL-AT, global", alone, 1.0)
    line(f"{prefix}glat/local", "GL-AT, local", glat, 1.0)
    line(f"{prefix}glat/fused", "**GL-AT, fused**", glat, 1.0, job)
    for stream in ("global", "local", "fused"):
        cost, job = alone if stream == "global" else glat, f"{prefix}shared" if stream == "fused" else ""
        line(f"{prefix}shared/{stream}", f"shared weights, {stream}", cost, 1.0, job)
    for stream in ("local", "fused"):
        job = f"{prefix}pool-max" if stream == "fused" else ""
        line(f"{prefix}pool-max/{stream}", f"crops pooled by max, {stream}", glat, 1.0, job)
    head = ("row", *SCORES.values(), "GFLOP a clip", "training compute, × alone", "s a step, one core", "seeds")
    return table(head, lines)


FEWEST_SEEDS = 2  # of a verdict


def verdict(found: Mapping[str, Any]) -> str:
    """Of differences in mAP: whether they are above zero, of all seeds and by the interval."""
    low, high = found["interval"]
    if low is None or high is None:
        return "not decided"
    if all(x == 0 for x in (low, high, *found["by_seed"])):
        return "no: the same"
    if len(found["by_seed"]) < FEWEST_SEEDS:
        return "one seed"
    if low > 0 and all(x > 0 for x in found["by_seed"]):
        return "yes"
    if high < 0 and all(x < 0 for x in found["by_seed"]):
        return "no: the reverse"
    return "not decided"


def claims_table(differences: Mapping[str, Any], claims: Mapping[str, str], prefixes: Iterable[str]) -> str:
    lines = []
    for prefix in prefixes:
        for claim, title in claims.items():
            if (found := differences.get(prefixed(prefix, claim))) is not None:
                by_seed = by_seed_of(found["mAP"])
                lines.append([title, SETTINGS[prefix], value(found["mAP"], "+.3f"), by_seed, verdict(found["mAP"])])
    return table(("claim", "network", "difference in mAP", "by seed", "holds"), lines)


def _selection(s: Summary) -> str:
    lines = []
    names = ("glat", "suppress-released", "suppress-crop", "rank-frame-max", "random-crops", "event-crops", "shared")
    for name in names:
        if f"{name}/fused" not in s["rows"]:
            continue
        streams = [value(s["rows"][f"{name}/{stream}"]["mAP"]) for stream in ("local", "fused")]
        found = s["differences"].get(f"{name}/fused - glat/fused")
        lines.append([ROWS[name].title, *streams, value(found["mAP"], "+.3f") if found else "", *_hits(s, name)])
    head = ("row", "local mAP", "fused mAP", "fused, against GL-AT", "crops on their event", "by chance", "in training")
    return table(head, lines)


def _hits(s: Summary, row: str) -> list[str]:
    """How often the crop of a present class overlaps an event of it: evaluation, chance, training clips."""
    runs = [run for run in s["runs"] if row in run["hits"]]

    def mean(where: str, what: str) -> str:
        return _mean([run[where][row][what] for run in runs], ".1%")

    return [mean("hits", "share"), mean("hits", "by_chance"), mean("training_hits", "share")]


def _pooling(s: Summary) -> str:
    lines = []
    for name, title in (("glat", "0.5 (max + mean), the paper's"), ("pool-max", "max"), ("pool-linear", "linear")):
        if f"{name}/fused" not in s["rows"]:
            continue
        for stream, fusion in FUSIONS.items():
            if stream == "fused" or name != "pool-linear":
                found = s["rows"][f"{name}/{stream}"]["mAP"]
                local = value(s["rows"][f"{name}/local"]["mAP"]) if stream == "fused" else ""
                by_seed = ", ".join(map(_number, found["by_seed"]))
                lines.append([title, local, fusion, value(found), by_seed])
    return table(("crops pooled by", "local mAP", "streams fused by", "fused mAP", "by seed"), lines)


def _scored_by(pooling: str, stream: str, crops: Mapping[str, Any]) -> float | None:
    """mAP of a stream where its crops are pooled so."""
    found: float | None = crops["scored_by"][pooling][stream]
    return found


def _crops(s: Summary, prefix: str) -> str:
    lines = []
    for name, title in (("glat", "0.5 (max + mean), the paper's"), ("pool-max", "max")):
        found = s["crops"].get(prefix + name, [])
        if not found:
            continue

        def mean(pick: Callable[[Any], float | None], how: str = ".3f", found: Any = found) -> str:
            return _mean([pick(each) for each in found], how)

        said = [mean(lambda each: each["crops_with_event"], ".1%")]
        said += [mean(itemgetter(what)) for what in ("with_event", "without", "auc")]
        scored = [
            ", ".join(mean(partial(_scored_by, by, stream)) for stream in ("local", "fused")) for by in CROP_POOLINGS
        ]
        scored.append(mean(lambda each: each["batch_statistics"]))
        lines.append([title, *said, *scored, str(len(found))])
    head = ["trained with crops pooled by", "crops that hold the class", "the class's score in these", "in the others"]
    head += ["AUC of the two"]
    head += [f"local, fused mAP scored by {by}" for by in CROP_POOLINGS.values()]
    return table((*head, "local mAP by the batch's own statistics", "seeds"), lines)


CROP_POOLINGS = {"max_mean": "the paper's", "max": "max", "linear": "linear", "average": "mean"}


FUSIONS = {"fused": "0.5 (max + mean), the paper's", "mean": "mean", "mean logit": "mean of logits"}


def _tuning(s: Summary) -> str:
    lines = []
    for name in ("rate-0.001", "alone", "rate-0.01"):
        found = s["rows"].get(f"{name}/global")
        if found is not None and 0 in found["seeds"]:
            at_zero = found["mAP"]["by_seed"][found["seeds"].index(0)]
            lines.append([f"{ROWS[name].learning_rate:g}", _number(at_zero)])
    return table(("learning rate", "mAP of the backbone alone, seed 0"), lines)


def _figure2(s: Summary) -> str:
    lines = []
    seeds = figure2_seeds(s)
    for row in figure2_rows():
        if f"{row.name}/fused" in s["rows"]:
            streams = []
            for stream in ("local", "fused"):
                values = list(figure2_values(s, row.name, stream, seeds).values())
                streams.append(_mean(values) + (f" ({', '.join(map(_number, values))})" if len(values) > 1 else ""))
            hits = _hits(s, row.name)
            gflop = s["costs"][row.name]["gflop"] / s["costs"]["alone"]["gflop"] if "alone" in s["costs"] else math.nan
            lines.append([str(row.num_crops), f"{row.crop_seconds:g}", *streams, hits[0], f"{gflop:.2f}"])
    of_seeds = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    head = ("N", "τ, s", f"local mAP, {of_seeds}", "fused mAP", "crops on their event", "FLOP, × alone")
    return table(head, lines)


def figure2_seeds(s: Summary) -> list[int]:
    """Those that all of its rows have: a mean over others would compare seeds, not crops."""
    rows = (s["rows"].get(f"{row.name}/fused") for row in figure2_rows())
    found = [set(row["seeds"]) for row in rows if row is not None]
    return sorted(set.intersection(*found)) if found else []


def figure2_values(s: Summary, row: str, stream: str, seeds: Sequence[int]) -> dict[int, float]:
    """mAP by seed."""
    found = s["rows"][f"{row}/{stream}"]
    return {seed: x for seed, x in zip(found["seeds"], found["mAP"]["by_seed"], strict=True) if seed in seeds}


def figure2_rows() -> list[Any]:
    """GL-AT and its rows with other crops, by number and then by length."""
    others = [ROWS[name] for name in ROWS if name.startswith(("N", "tau"))]
    by_count = sorted([ROWS["glat"], *(row for row in others if row.name.startswith("N"))], key=lambda r: r.num_crops)
    return [*by_count, *(row for row in others if row.name.startswith("tau"))]
