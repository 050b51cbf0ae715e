"""The processes of a run: one, or those that ``torchrun`` started, each with its own device."""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import Stopped, UserError

T = TypeVar("T")
LOST = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "NCCL")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run. Rank 0 reads the run's folder, decides, writes and prints.

    The methods exchange values on the host, over gloo; every rank has to call them in the same order.

    Attributes:
        rank: number of this process.
        size: number of processes.
        group: the process group of gloo.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This rank's block of `count` items. Blocks differ by one item at most; rank 0 has the most."""
        first, last = (-(-count * rank // self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def on_first(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run ``work(*arguments)`` on rank 0 and return its result on every rank.

        Raises:
            UserError: on rank 0, what `work` raised; the other ranks exit with the same status and print nothing.
        """
        if self.size == 1:
            return work(*arguments)
        outcome: list[Any] = [None, False]
        error = None
        if self.first:
            try:
                outcome = [work(*arguments), False]
            except UserError as raised:
                outcome, error = [None, True], raised
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        if error is not None:
            raise error
        if outcome[1]:
            raise SystemExit(2)
        return outcome[0]

    def gather(self, value: T) -> list[T]:
        """On rank 0 the values of all ranks, in their order; elsewhere an empty list."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.gather_object(value, values if self.first else None, dst=0, group=self.group)
        return values if self.first else []

    def agree(self, facts: Callable[..., Mapping[str, Any]], *arguments: Any) -> None:
        """Check that ``facts(*arguments)`` is the same on every rank.

        Args:
            facts: returns values by what to call them.

        Raises:
            UserError: a value differs; rank 0 names the first one, and the other ranks exit.
        """
        if self.size > 1:
            self.on_first(_check_same, self.gather(dict(facts(*arguments))))

    def mean(self, values: list[float]) -> list[float]:
        """Element-wise mean over the ranks."""
        if self.size == 1:
            return values
        return (self._reduced(values, dist.ReduceOp.SUM) / self.size).tolist()

    def most(self, values: list[float]) -> list[float]:
        """Element-wise maximum over the ranks."""
        return values if self.size == 1 else self._reduced(values, dist.ReduceOp.MAX).tolist()

    def _reduced(self, values: list[float], how: Any) -> Tensor:
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, how, group=self.group)
        return tensor

    def same_buffers(self, module: nn.Module) -> None:
        """Copy rank 0's buffers to every rank: batch norm's running statistics drift apart in training."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


ALONE = Ranks()


def _check_same(found: list[dict[str, Any]]) -> None:
    for rank, others in enumerate(found[1:], 1):
        for name, ours in found[0].items():
            if (theirs := others[name]) != ours:
                if isinstance(ours, list):  # what is in one of them alone
                    ours, theirs = ([x for x in a if x not in b] or len(a) for a, b in ((ours, theirs), (theirs, ours)))
                raise UserError(
                    f"rank {rank} differs from rank 0: {name}: {theirs} there, {ours} on rank 0; start every rank with "
                    "the same command, code and recordings"
                )


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the ranks that ``torchrun`` started; without it, this process is alone.

    Raises:
        UserError: there are more processes than GPUs, or another rank died.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"this machine has {torch.cuda.device_count()} GPUs, and torchrun started a process for GPU "
                f"{local_rank}; choose --nproc-per-node {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(local_rank)
    try:
        # torchrun keeps its store over restarts, and with it the addresses of processes that are gone.
        store, rank, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield Ranks(rank, size, dist.new_group(backend="gloo"))
    except Stopped as stopped:
        if rank > 0:  # rank 0 says it
            raise SystemExit(stopped.code) from None
        raise
    except (RuntimeError, pickle.UnpicklingError) as error:  # the latter: half a message of a rank that died
        if isinstance(error, pickle.UnpicklingError) or any(word in str(error) for word in LOST):
            raise UserError(
                f"rank {rank} lost another rank, which has ended for a reason of its own; the run's checkpoints stay: "
                "give the same command again with --resume auto"
            ) from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone
