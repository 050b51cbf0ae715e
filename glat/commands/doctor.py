"""`glat doctor`: what will run on this machine, and what is missing."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from .. import kernels, machine


@dataclass(frozen=True)
class Doctor:
    """Print versions and devices, which implementation of each operator will run, and what is missing."""

    def __call__(self) -> int:
        """Returns 0, also where something optional is missing."""
        console = Console(highlight=False)
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
        return 0
