"""`glat export` against the run: how long an export takes, and ONNX Runtime beside glat's own inference on a CPU.

``python -m bench.export.speed`` prints the table of docs/export.md: processor time on one thread, calls in turns,
medians, after both have been compared. Weights are random: they change no time.
"""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch

from glat.config import ModelConfig
from glat.export.check import compare
from glat.export.graph import INPUT, OUTPUTS, Graph
from glat.export.onnx import write_onnx
from glat.export.sounds import synthesised
from glat.inference import for_inference
from glat.model import build_model

CASES = (("cnn10", 0.125), ("cnn10", 1.0), ("talnet", 1.0))
CLIPS, ROUNDS, CLASSES = 2, 5, 527


def measure(backbone: str, width: float, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=backbone, width=width), CLASSES).eval()
    rate = model.global_.sample_rate_hz
    start = time.process_time()
    write_onnx(Graph(model, 10 * rate).trace(), folder / "a.onnx", {})
    export_seconds = time.process_time() - start
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "a.onnx"), options)
    ours, clips = for_inference(model), synthesised(rate, 10 * rate)

    def hear(waves: Any) -> dict[str, Any]:
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: waves}), strict=True))

    parity = compare(model, hear, clips)
    waves = clips.waves[:CLIPS]
    times: dict[str, list[float]] = {"glat": [], "onnx": []}
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            for name, call in (("glat", lambda: ours(torch.from_numpy(waves))), ("onnx", lambda: hear(waves))):
                start = time.process_time()
                call()
                times[name].append(time.process_time() - start)
    ratios = [onnx / glat for glat, onnx in zip(times["glat"][1:], times["onnx"][1:], strict=True)]
    return {
        "network": f"{backbone}, width {width:g}",
        "file, MB": f"{(folder / 'a.onnx').stat().st_size / 1e6:.0f}",
        "export, s": f"{export_seconds:.0f}",
        "glat, s": f"{median(times['glat'][1:]) / CLIPS:.3f}",
        "ONNX Runtime, × glat": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "largest difference": f"{max(parity.largest.values()):.1e}",
    }


def main() -> None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        for i, case in enumerate(CASES):
            row = measure(*case, Path(folder))
            if i == 0:
                print("| " + " | ".join(row) + " |")
                print("|---" + "|---:" * (len(row) - 1) + "|")
            print("| " + " | ".join(row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
