"""cuDNN's search for the fastest algorithms, within a bound on the memory that it may try."""

import torch

HEADROOM = 1.25  # times what the first step held, and
WORKSPACE_BYTES = 4 * 2**30  # this much more is what a search may take
# Modes that record CUDA graphs run the first calls to warm up; the third is a replay.
RECORDED_AFTER = 3


class ConvolutionSearch:
    """Searches algorithms for the shapes of a training step, which never change, in one of the first steps.

    ``torch.backends.cudnn.benchmark = True`` alone tries algorithms with whatever memory is free: PyTorch allocates the
    largest workspace that one of them asks for, and halves it where the allocator refuses (133 GiB of an H200's 141 for
    a step that needs 7 to 30). ``benchmark_limit`` bounds how many are timed, not their memory. So the allocator is
    made to refuse:

    1. the first step takes the algorithms that cuDNN guesses, and what it holds is measured;
    2. the second one searches, while PyTorch may hold `HEADROOM` times that and `WORKSPACE_BYTES` more;
    3. then the search ends. What it found stays in use; other shapes, such as those of an evaluation, are guessed. The
       memory goes back to the device, and its peak is counted anew: from here on it is that of a steady step.

    A step in CUDA graphs is not searched while it is recorded, so there the search begins at once, without a bound.
    On a CPU nothing is done. Call `after_step` after each of the first steps, or after all of them.
    """

    def __init__(self, device: torch.device, in_graphs: bool) -> None:
        self.device, self.in_graphs, self.steps = device, in_graphs, 0
        self.done = device.type != "cuda"
        if not self.done:
            torch.backends.cudnn.benchmark = in_graphs

    def after_step(self) -> None:
        """Count a step that has been made, and do what follows it."""
        if self.done:
            return
        self.steps += 1
        if self.steps == 1 and not self.in_graphs:
            held = torch.cuda.max_memory_reserved(self.device)
            total = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, (HEADROOM * held + WORKSPACE_BYTES) / total), self.device
            )
            torch.backends.cudnn.benchmark = True
        elif self.steps >= (RECORDED_AFTER if self.in_graphs else 2):
            self._end()

    def _end(self) -> None:
        torch.backends.cudnn.benchmark = False
        torch.cuda.set_per_process_memory_fraction(1.0, self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        self.done = True
