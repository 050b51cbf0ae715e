"""The shards of a pack, written by several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from ...errors import UserError
from ...machine import keep_freed_memory
from .filling import Shard, write_shard

AGAIN = "give the same command again to go on"

Report = Callable[[int, int], None]  # (recordings done, of so many)


def write_shards(tasks: list[Shard], workers: int, report: Report) -> None:
    """Write the shards that are missing.

    Args:
        workers: processes.
        report: called before the first shard and when some are done.

    Raises:
        WriteError: a shard cannot be written.
        UserError: a worker was killed.
    """
    total = sum(len(task.recordings) for task in tasks)
    missing = [task for task in tasks if not task.path.exists()]
    done = total - sum(len(task.recordings) for task in missing)
    report(done, total)
    if not missing:
        return
    # Not fork: soundfile, HDF5 and torch have threads and locks that a fork would copy in any state.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # torch takes seconds to import: once, not once a worker
    with ProcessPoolExecutor(min(workers, len(missing)), context, initializer=_start_worker) as pool:
        waiting = iter(missing)
        running: dict[Future[None], Shard] = {}
        try:
            while True:
                # Few at a time: the recordings of two million clips are not to queue in pipes.
                while len(running) < 2 * workers and (task := next(waiting, None)):
                    running[pool.submit(write_shard, task)] = task
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += len(running.pop(future).recordings)
                    future.result()
                report(done, total)
        except BrokenProcessPool as error:
            raise UserError(
                f"a worker was killed, perhaps for want of memory; {AGAIN}, perhaps with fewer --workers"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _start_worker() -> None:
    """End when the parent ends, even if it was killed, and at once on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    keep_freed_memory()  # a clip's arrays would be given back and cleared anew for every clip
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
