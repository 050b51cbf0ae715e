"""Fine-tune PANNs' weights on recordings of your own, and write the result as one file for other programs.

python examples/fine_tune.py recordings/ Cnn10_mAP=0.380.pth birds.onnx

`recordings/` has one sub-folder a class. The run lies in a folder beside the file, birds.run/; start the program again,
and it goes on where it was stopped.
"""

import sys
from pathlib import Path

import glat
from glat.config import DataConfig, OptimConfig, RunConfig

recordings, weights, out = map(Path, sys.argv[1:4])
steps = int(sys.argv[4]) if len(sys.argv) > 4 else 2_000
run = out.with_suffix(".run")

glat.train(
    glat.TrainConfig(
        model=glat.ModelConfig(backbone="cnn10", init_from=weights, crop_pooling="max"),
        data=DataConfig(data=recordings),
        optim=OptimConfig(iterations=steps, amp=True),
        run=RunConfig(run_dir=run, resume="auto"),
    )
)
tagger = glat.load(run, best=True)  # the weights of the best evaluation
parity = tagger.export(out)  # written only if it says what the run says
print(parity)
print(f"{out}: {', '.join(tagger.classes)}, {tagger.sample_rate_hz} Hz, {tagger.clip_seconds:g} s a clip")
