"""What a tagger's model is, and what it was trained on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..errors import UserError
from ..runs.folder import Run
from ..runs.weights import header_of_weights


@dataclass(frozen=True)
class Origin:
    """Where a tagger's weights come from.

    Attributes:
        source: a run's folder, or a checkpoint.
        facts: what is known of them, plain types by name.
        data: what a run was trained on; None: a checkpoint.
        seed: of the run.
    """

    source: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    data: DataConfig | None = None
    seed: int = 0

    @staticmethod
    def of_run(run: Run, weights: str) -> "Origin":
        """Of a run whose weights have just been read."""
        header = header_of_weights(run.folder, weights)
        step = header.get("step")
        facts = {
            "preset": run.config.preset,
            "weights": weights,
            "weights_sha256": header.get("sha256"),
            "step": int(step) if step is not None and step.isdecimal() else None,
            "network_sha256": run.network,
            "recordings_sha256": run.fingerprint,
        }
        return Origin(run.folder, facts, run.config.data, run.config.optim.seed)

    def describe(self) -> dict[str, Any]:
        """Plain types by name; no folder of this machine is named but by its last part."""
        if self.facts:
            return {"run": self.source.resolve().name, **self.facts}
        try:
            with self.source.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{self.source} cannot be read any more ({error.strerror}); restore it") from None
        return {"checkpoint": self.source.name, "file_sha256": digest}
