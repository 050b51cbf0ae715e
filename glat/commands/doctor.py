"""`glat doctor`: what will run on this machine, and what is missing."""

from dataclasses import dataclass

from .. import kernels, machine
from ..data.loading.batches import dali_missing
from ..terminal import Console, Table


@dataclass(frozen=True)
class Doctor:
    """Print versions and devices, which implementation of each operator will run, and what is missing."""

    def __call__(self) -> int:
        """Returns 0, even where something optional is missing."""
        console = Console()
        facts = Table("what", "found", show_header=False)
        for name, value in machine.versions().items():
            facts.add_row(name, value)
        device = machine.pick_device()
        facts.add_row("device", machine.device_name(device))
        facts.add_row("--amp", machine.pick_precision(True, device).reason)
        for kind in ("cpu", "cuda"):
            for op, implementation in kernels.implementations(kind).items():
                idle = " (no such device here)" if kind == "cuda" and device.type != "cuda" else ""
                facts.add_row(f"{op} on {kind}", implementation + idle)
        console.print(facts)
        for line in machine.missing():
            console.print(line)
        if obstacle := dali_missing():
            console.print(
                f"{obstacle}: soundfile and soxr decode instead, with the same results. From wav, flac or ogg files a "
                "GPU then gets 1.7 to 6 times fewer clips a second (docs/gpu.md); packs (glat pack) need no decoder"
            )
        return 0
