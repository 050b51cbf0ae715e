"""Samplers: which clips a training step uses, and their state for checkpoints."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UserError
from ..targets import Targets

State = dict[str, Any]  # tensors, numbers, strings, and lists and dicts of them: torch.load(weights_only=True) takes it


class Sampler(Protocol):
    """An endless sequence of rows that depends only on labels and seed; PyTorch's generators are not used."""

    empty_classes: tuple[int, ...]  # classes without a clip, left out by samplers that draw by class

    def draw(self, batch_size: int) -> Tensor:
        """Rows [B] int64 of the next batch, which is always full and may span two epochs."""
        ...

    def state(self) -> State:
        """The current position and the seed; later draws do not change the returned state.

        Cheap enough to call after every batch.
        """
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which is not changed.

        Raises:
            UserError: the state of another sampler, or of another number of clips.
        """
        ...


class Plain:
    """Every epoch is another permutation of all clips; a pure function of seed and position."""

    def __init__(self, targets: Targets, seed: int) -> None:
        self.empty_classes: tuple[int, ...] = ()
        self._num_clips, self._seed = len(targets), seed
        self._position = 0  # clips drawn so far
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def draw(self, batch_size: int) -> Tensor:
        parts, missing = [], batch_size
        while missing:
            epoch, offset = divmod(self._position, self._num_clips)
            if epoch != self._epoch:
                generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
                self._epoch, self._order = epoch, torch.randperm(self._num_clips, generator=generator)
            parts.append(self._order[offset : offset + missing])
            self._position += len(parts[-1])
            missing -= len(parts[-1])
        return torch.cat(parts)

    def state(self) -> State:
        return {"sampler": "plain", "clips": self._num_clips, "seed": self._seed, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        _check_state(state, "plain", self._num_clips)
        self._seed, self._position = state["seed"], state["position"]
        self._epoch = -1  # the current order may be of another seed


class Balanced:
    """Draw every class equally often: a queue of classes in random order, and a random order of each class's clips.

    An empty queue is refilled with a permutation of the classes. The next class of the queue gives the next clip in its
    order, which is reshuffled when it ends. Clips without any label count as one more class.

    Source: the released program of PANNs, ``BalancedTrainSampler``; the same rows for the same seed (its own is 1234).
    Deviation: a class without a clip, which ends PANNs' program, is left out of the queue and named in `empty_classes`;
    PANNs never draws clips without a label.
    """

    def __init__(self, targets: Targets, seed: int) -> None:
        self.empty_classes, by_class = _groups(targets)
        self._num_clips = len(targets)
        self._classes = np.array([k for k, rows in enumerate(by_class) if len(rows)])
        self._random = np.random.RandomState(seed)
        # Orders and queue are replaced, never changed in place: states share them.
        self._orders = [self._shuffled(rows) for rows in by_class]
        self._taken = [0] * len(by_class)
        self._queue: list[int] = []
        self._head = 0

    def draw(self, batch_size: int) -> Tensor:
        rows = []
        for _ in range(batch_size):
            if self._head == len(self._queue):
                self._queue, self._head = self._shuffled(self._classes).tolist(), 0
            k = self._queue[self._head]
            self._head += 1
            rows.append(self._orders[k][self._taken[k]].item())
            self._taken[k] += 1
            if self._taken[k] == len(self._orders[k]):
                self._orders[k], self._taken[k] = self._shuffled(self._orders[k].numpy()), 0
        return torch.tensor(rows)

    def state(self) -> State:
        twister = self._random.get_state(legacy=False)["state"]
        return {
            "sampler": "balanced",
            "clips": self._num_clips,
            "orders": list(self._orders),
            "taken": list(self._taken),
            "queue": self._queue,
            "head": self._head,
            "random_key": torch.from_numpy(twister["key"].view(np.int32)),
            "random_position": twister["pos"],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        _check_state(state, "balanced", self._num_clips)
        self._orders, self._taken = list(state["orders"]), list(state["taken"])
        self._queue, self._head = state["queue"], state["head"]
        key = state["random_key"].numpy().view(np.uint32)
        self._random.set_state(("MT19937", key, state["random_position"], 0, 0.0))

    def _shuffled(self, values: NDArray[Any]) -> Tensor:
        values = values.copy()
        self._random.shuffle(values)
        return torch.from_numpy(values)


class Alternate:
    """Alternate batches: the first, third, ... are balanced, the second, fourth, ... plain.

    Source: the released program of PANNs, ``AlternateTrainSampler``. Deviation: the plain batches are those of `Plain`.
    """

    def __init__(self, targets: Targets, seed: int) -> None:
        self._balanced, self._plain = Balanced(targets, seed), Plain(targets, seed)
        self.empty_classes = self._balanced.empty_classes
        self._num_clips = len(targets)
        self._batches = 0  # drawn so far

    def draw(self, batch_size: int) -> Tensor:
        sampler = self._balanced if self._batches % 2 == 0 else self._plain
        self._batches += 1
        return sampler.draw(batch_size)

    def state(self) -> State:
        return {
            "sampler": "alternate",
            "clips": self._num_clips,
            "batches": self._batches,
            "balanced": self._balanced.state(),
            "plain": self._plain.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        _check_state(state, "alternate", self._num_clips)
        self._balanced.restore(state["balanced"])
        self._plain.restore(state["plain"])
        self._batches = state["batches"]


class InverseFrequency:
    """Draw clips with replacement, with probability proportional to ``sum over its classes of 1 / clips of the class``.

    Clips without any label count as one more class.

    Source: Gong et al., "PSLA", 2021, and the released program of AST, which sum too. Deviation: 1 / count where that
    program has 1000 / (count + 0.01).
    """

    def __init__(self, targets: Targets, seed: int) -> None:
        self.empty_classes, by_class = _groups(targets)
        weights = np.zeros(len(targets))
        for rows in by_class:
            weights[rows] += 1 / max(1, len(rows))
        self._cumulative = weights.cumsum()
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, batch_size: int) -> Tensor:
        # At most 1 - 2**-53, whose product with the total rounds to less than the total: no index past the end.
        uniform = torch.rand(batch_size, dtype=torch.float64, generator=self._generator).numpy()
        return torch.from_numpy(self._cumulative.searchsorted(uniform * self._cumulative[-1], side="right"))

    def state(self) -> State:
        clips = len(self._cumulative)
        return {"sampler": "inverse_frequency", "clips": clips, "random": self._generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        _check_state(state, "inverse_frequency", len(self._cumulative))
        self._generator.set_state(state["random"])


class Placed:
    """Rows of another sampler, each at a place of its own: windows of long recordings; see `ClipSource.places`.

    The place is drawn uniformly, by a counter-based generator (Philox): a pure function of the seed and the number of
    rows drawn so far.
    """

    def __init__(self, sampler: Sampler, num_clips: int, places: int, seed: int) -> None:
        assert places & (places - 1) == 0
        self.empty_classes = sampler.empty_classes
        self._sampler, self._num_clips, self._places, self._seed = sampler, num_clips, places, seed
        self._drawn = 0

    def draw(self, batch_size: int) -> Tensor:
        rows = self._sampler.draw(batch_size)
        # A batch has a counter of its own: of its four words, the second counts rows, the first the bits of a batch.
        random = np.random.Philox(key=self._seed, counter=[0, self._drawn, 0, 0]).random_raw(batch_size)
        self._drawn += batch_size
        places = (random >> np.uint64(32)).astype(np.int64) & (self._places - 1)
        return rows + self._num_clips * torch.from_numpy(places)

    def state(self) -> State:
        return {
            "sampler": "placed",
            "clips": self._num_clips,
            "places": self._places,
            "seed": self._seed,
            "drawn": self._drawn,
            "rows": self._sampler.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        _check_state(state, "placed", self._num_clips)
        self._sampler.restore(state["rows"])
        self._places, self._seed, self._drawn = state["places"], state["seed"], state["drawn"]


SAMPLERS: dict[str, Callable[[Targets, int], Sampler]] = {
    "plain": Plain,
    "balanced": Balanced,
    "alternate": Alternate,
    "inverse_frequency": InverseFrequency,
}


def build_sampler(name: str, targets: Targets, seed: int, places: int = 1) -> Sampler:
    """Build the sampler `name` for the clips of `targets`.

    Args:
        name: plain, balanced, alternate or inverse_frequency.
        targets: labels of M clips.
        seed: 0 to 2**32 - 1.
        places: of the source; above 1, rows are drawn with a place.

    Raises:
        UserError: an unknown name; no clips, or no labelled clip for a sampler that draws by labels.
    """
    if name not in SAMPLERS:
        raise UserError(f"there is no sampler {name!r}; choose {', '.join(SAMPLERS)}")
    if not len(targets):
        raise UserError("there are no clips to draw from; give recordings")
    sampler = SAMPLERS[name](targets, seed)
    return sampler if places == 1 else Placed(sampler, len(targets), places, seed)


class RowStream:
    """Rows for a loader that works ahead, and the sampler's state after the last consumed batch.

    The loader iterates, and calls `delivered` for each batch that it hands over, in order. A checkpoint stores `state`.

    Args:
        sampler: only this stream may draw from it from now on.
        batch_size: B, the total over all processes.
    """

    def __init__(self, sampler: Sampler, batch_size: int) -> None:
        self._sampler, self._batch_size = sampler, batch_size
        self._state, self._ahead = sampler.state(), deque[State]()

    def __iter__(self) -> "RowStream":
        return self

    def __next__(self) -> Tensor:
        rows = self._sampler.draw(self._batch_size)
        self._ahead.append(self._sampler.state())
        return rows

    def delivered(self) -> None:
        """Note that the oldest batch in preparation has been consumed by training."""
        self._state = self._ahead.popleft()

    def state(self) -> State:
        """Sampler state after the last consumed batch."""
        return self._state


def _groups(targets: Targets) -> tuple[tuple[int, ...], list[NDArray[np.int32]]]:
    """Classes without a clip; the rows of each other class and, last, those of clips without a class, if any."""
    by_class = targets.by_class()
    if not any(map(len, by_class)):
        raise UserError(f"none of {len(targets)} clips has a label to be drawn by; choose the plain sampler")
    without = np.flatnonzero(~targets.packed.any(axis=1)).astype(np.int32)
    empty = tuple(k for k, rows in enumerate(by_class) if not len(rows))
    return empty, [*by_class, without] if len(without) else by_class


def _check_state(state: Mapping[str, Any], name: str, num_clips: int) -> None:
    if (state["sampler"], state["clips"]) != (name, num_clips):
        raise UserError(
            f"the checkpoint's sampler is {state['sampler']} over {state['clips']} clips, and this run's is {name} "
            f"over {num_clips}; go on with the recordings and the sampler that it was started with"
        )
