"""The study's plan: its rows, grouped into jobs, and their sizes."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from glat.config import ClipPooling, ModelConfig


@dataclass(frozen=True)
class Scale:
    """How large the study is."""

    train_clips: int = 3_200
    eval_clips: int = 600
    batch_size: int = 32
    steps: int = 1_000
    """Of rows with `Row.schedule` 1."""
    width: float = 0.125
    points: int = 10
    """Evaluations of a run."""
    mix: int = 0
    """Of `training.soundscapes`: another number mixes other clips from the same recordings."""


FULL = Scale()
SMALL = Scale(train_clips=24, eval_clips=32, batch_size=4, steps=4, width=0.05, points=2)
"""Every row in some minutes, to no purpose but to show that all of it works."""

LEARNING_RATE = 3e-3
"""Chosen for the backbone alone among those of the rows ``rate-*``, and left alone."""

Sounds = Literal["cut", "whole"]
"""Events cut to 0.3 to 3 s, or whole recordings, of up to 5 s in ESC-10."""


@dataclass(frozen=True)
class Row:
    """One thing that is trained and scored."""

    name: str
    title: str
    network: str = "cnn10"
    two_streams: bool = True
    schedule: float = 1.0
    """Steps, in multiples of the study's; the learning rate's schedule is stretched with them."""
    learning_rate: float = LEARNING_RATE
    crops: Literal["selected", "random", "events", "novel", "shifted", "lengths"] = "selected"
    """Crops where the global stream puts them, anywhere, or on the clip's true events; novel, shifted, lengths: see
    `recipes`."""
    num_crops: int = 5
    crop_seconds: float = 3.0
    suppress: Literal["none", "released", "crop"] = "none"
    rank_by: Literal["clip", "frame_max"] = "clip"
    share_weights: bool = False
    shared: Literal["nothing", "all but the head", "convolutions"] = "nothing"
    """What of two networks is one, where not all is."""
    distil: Literal["nothing", "clip", "frames"] = "nothing"
    """What of the global stream learns from the local one's scores; see `recipes`."""
    crop_pooling: Literal["max_mean", "max", "linear", "features"] = "max_mean"
    """What pools the crops' scores, in training too; the paper: 0.5 (max + mean). features: the network pools the
    frames of all crops as if they were one clip."""
    clip_pooling: ClipPooling = "own"
    """What pools the frames' scores into the clip's, in training too; own: max + mean of the features, as in PANNs."""
    sounds: Sounds = "cut"
    """What its clips are mixed from."""

    def model(self) -> ModelConfig:
        """The part that the library configures."""
        return ModelConfig(
            num_crops=self.num_crops,
            crop_seconds=self.crop_seconds,
            suppress=self.suppress,
            rank_by=self.rank_by,
            share="all" if self.share_weights else "nothing",
            crop_pooling="max" if self.crop_pooling == "features" else self.crop_pooling,
        )

    @property
    def reaches_the_global_stream(self) -> bool:
        """Whether training it gives another global stream than training the backbone alone."""
        return self.share_weights or self.shared != "nothing" or self.distil != "nothing"


@dataclass(frozen=True)
class Job:
    """Rows that one process trains together.

    All of them share one global stream: no gradient reaches it from a local stream, so it learns the same beside any of
    them, and beside none (``test_study.py`` shows it to the last bit). A row that does reach it is alone in a job.
    """

    name: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]

    def folder(self, out: Path, seed: int) -> Path:
        """Of the run with a seed."""
        return out / f"{self.name}-S{seed}"

    def plan(self) -> list[dict[str, Any]]:
        """What its rows are, as plain types: noted with a run, which counts for this plan alone."""
        return [asdict(row) for row in self.rows]

    def is_of(self, plan: list[dict[str, Any]]) -> bool:
        """Whether a noted plan is this one; what a row of an older plan does not name has its default."""
        known = {each.name for each in fields(Row)}
        return all(known.issuperset(row) for row in plan) and tuple(Row(**row) for row in plan) == self.rows

    @property
    def network(self) -> str:
        return self.rows[0].network

    @property
    def is_fine(self) -> bool:
        """Whether its frames are fine enough for the times of events."""
        return self.network == "cnn10-fine"

    @property
    def first(self) -> Row:
        """The row that says how the global stream is trained; the others agree with it."""
        return self.rows[0]


EQUAL_COMPUTE = 2.5
"""GL-AT by the backbone alone in FLOPs: 1 + N tau / T0."""

ALONE = Row("alone", "backbone alone", two_streams=False)
LONGER = replace(ALONE, name="longer", title=f"backbone alone, {EQUAL_COMPUTE:g} × the steps", schedule=EQUAL_COMPUTE)
GLAT = Row("glat", "GL-AT")
# The same compute from the other side: GL-AT with as much as the backbone alone has.
SHORTER = replace(
    ALONE, name="shorter", title=f"backbone alone, {1 / EQUAL_COMPUTE:g} × the steps", schedule=1 / EQUAL_COMPUTE
)
GLAT_SHORTER = replace(
    GLAT, name="glat-shorter", title=f"GL-AT, {1 / EQUAL_COMPUTE:g} × the steps", schedule=1 / EQUAL_COMPUTE
)
SHARED = Row("shared", "GL-AT, one network for both streams", share_weights=True)
VARIANTS = (
    Row("suppress-released", "suppress = released", suppress="released"),
    Row("suppress-crop", "suppress = crop", suppress="crop"),
    Row("rank-frame-max", "rank_by = frame_max", rank_by="frame_max"),
    Row("random-crops", "random crops (the floor)", crops="random"),
    Row("event-crops", "crops on the true events (the ceiling)", crops="events"),
)
# Beside N = 5 and tau = 3 s of GLAT.
COUNTS = tuple(Row(f"N{n}", f"N = {n}", num_crops=n) for n in (1, 2, 3, 4, 6, 7))
LENGTHS = tuple(Row(f"tau{t}", f"tau = {t} s", crop_seconds=float(t)) for t in (1, 2, 4, 5))
POOL_MAX, POOL_LINEAR = (Row(f"pool-{name}", f"crops pooled: {name}", crop_pooling=name) for name in ("max", "linear"))
# TALNet's five: how the backbone alone pools its frames into the clip decides what the frames learn.
POOLED = tuple(
    replace(ALONE, name=f"frames-{name}", title=f"backbone alone, frames pooled: {name}", clip_pooling=name)
    for name in ("max", "average", "linear", "exponential", "attention")
)
# For a better recipe, all at the compute of GL-AT (N tau is 15 s): other crops than the paper's, pooled by maximum;
OTHER_CROPS = (
    replace(POOL_MAX, name="long-crops", title="three crops of 5 s", num_crops=3, crop_seconds=5.0),
    replace(POOL_MAX, name="novel", title="crops ranked by class and novelty", crops="novel"),
    replace(POOL_MAX, name="shifted", title="crops shifted at random in training", crops="shifted"),
    replace(POOL_MAX, name="lengths", title="crops of 1.5, 3 or 4.5 s in training", crops="lengths"),
    replace(POOL_MAX, name="pool-features", title="crops pooled by their features", crop_pooling="features"),
)
# streams that learn from each other.
COUPLED = (
    replace(POOL_MAX, name="heads", title="one network with two heads", shared="all but the head"),
    replace(POOL_MAX, name="norms", title="one network's convolutions, two norms and heads", shared="convolutions"),
    replace(POOL_MAX, name="distil-clip", title="the fused score teaches the global stream", distil="clip"),
    replace(POOL_MAX, name="distil-frames", title="crops teach the global stream's frames", distil="frames"),
)
# And frames that are pooled into the clip's score as TALNet's authors advise, for what and when at once.
LINEAR = replace(POOL_MAX, name="linear", title="frames pooled: linear, crops: max", clip_pooling="linear")
RATES = tuple(replace(ALONE, name=f"rate-{rate:g}", title=f"at {rate:g}", learning_rate=rate) for rate in (1e-3, 1e-2))

SEEDS = (0, 1, 2)
FOUND_ON = 0
"""The seed by which the pooling of crops was chosen; the others, on fresh clips, confirm it or do not."""


RESNET38, WHOLE, FINE = "resnet38-", "whole-", "fine-"  # prefixes of the rows' names


def resnet38(row: Row) -> Row:
    """The same row of the second backbone."""
    return replace(row, name=RESNET38 + row.name, network="resnet38")


def fine(row: Row) -> Row:
    """The same row on frames of 160 ms, for the times of events."""
    return replace(row, name=FINE + row.name, network="cnn10-fine")


def whole(row: Row) -> Row:
    """The same row on longer events, where crops of a clip hold the same classes."""
    return replace(row, name=WHOLE + row.name, sounds="whole")


JOBS = (
    Job("alone", (ALONE,), SEEDS),
    Job("joint", (GLAT, *VARIANTS), SEEDS),
    Job("longer", (LONGER,), SEEDS),
    Job("shared", (SHARED,), SEEDS),
    Job("pooling", (POOL_MAX, POOL_LINEAR), (FOUND_ON,)),
    Job("pool-max", (POOL_MAX,), tuple(seed for seed in SEEDS if seed != FOUND_ON)),
    Job("resnet38-alone", (resnet38(ALONE),), SEEDS),
    Job("resnet38-glat", (resnet38(GLAT),), SEEDS),
    Job("resnet38-longer", (resnet38(LONGER),), SEEDS),
    Job("resnet38-pool-max", (resnet38(POOL_MAX),), SEEDS),
    Job("whole-joint", (whole(ALONE), whole(GLAT), whole(POOL_MAX)), SEEDS),
    Job("whole-longer", (whole(LONGER),), SEEDS),
    Job("shorter", (SHORTER,), SEEDS),
    Job("glat-shorter", (GLAT_SHORTER,), SEEDS),
    Job("counts", COUNTS, SEEDS),
    Job("lengths", LENGTHS, SEEDS),
    *(Job(row.name, (row,), (0,)) for row in RATES),
    Job("fine", (fine(ALONE), fine(GLAT), fine(POOL_MAX)), SEEDS),
    Job("fine-longer", (fine(LONGER),), SEEDS),
    Job("fine-crops", tuple(map(fine, OTHER_CROPS)), (FOUND_ON,)),
    *(Job(fine(row).name, (fine(row),), (FOUND_ON,) if row.distil != "nothing" else SEEDS) for row in COUPLED),
    Job("fine-linear", (fine(LINEAR),), SEEDS),
    *(Job(row.name, (row,), SEEDS) for row in map(fine, POOLED)),
)

SETTINGS = {"": "CNN10", RESNET38: "ResNet38", WHOLE: "CNN10, whole recordings", FINE: "CNN10, frames of 160 ms"}
"""Prefixes of the rows of each, and its title."""

# One minus the other, and what it is to show; of every setting that has both.
CLAIMS = {
    "glat/global - alone/global": "(a) joint training improves the global stream",
    "shared/global - alone/global": "(a) with one network for both streams",
    "glat/local - glat/global": "(b) local beats global",
    "glat/fused - glat/local": "(c) fused beats local",
    "glat/fused - glat/global": "(c) fused beats global",
    "glat/fused - longer/global": "fused beats equal compute: alone, more steps",
    "glat-shorter/fused - shorter/global": f"fused beats the backbone, both with {1 / EQUAL_COMPUTE:g} × the steps",
    "glat-shorter/fused - alone/global": "fused beats equal compute: GL-AT with fewer steps",
    "glat/fused - two-alone/global": "fused beats two backbones averaged (0.8 of its compute)",
    "glat/fused - three-alone/global": "fused beats three backbones averaged (1.2 of its compute)",
    "longer/global - alone/global": "the backbone gains from more steps",
}
# Of the two settings whose clips the pooling was chosen by: on fresh clips, with seeds that nothing was chosen by.
CONFIRMED_OF = ("", RESNET38)
CONFIRMED = {
    "pool-max/fused - glat/fused": "crops pooled by max beat the paper's pooling, fused",
    "pool-max/fused - longer/global": "they beat equal compute: alone, more steps",
    "pool-max/fused - two-alone/global": "they beat two backbones averaged (0.8 of their compute)",
    "pool-max/local - glat/global": "local then beats global",
    "glat/fused - longer/global": "with the paper's pooling, fused beats equal compute",
}


def prefixed(prefix: str, claim: str) -> str:
    """A claim, of a setting's rows."""
    return " - ".join(prefix + key for key in claim.split(" - "))
