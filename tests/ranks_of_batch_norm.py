"""train.py with batch norm frozen, as the test of several ranks runs it: SyncBatchNorm is for GPUs only.

What ``--compile`` asks for is traced, and then run as it is written.
"""

import importlib.util
import sys
from pathlib import Path

from torch import nn

from glat.ranks import joined
from glat.settings.training import parse_train_config
from glat.training import compiling

spec = importlib.util.spec_from_file_location("train", Path(__file__).resolve().parents[1] / "train.py")
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)


class Frozen(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


def frozen(*arguments, build=train.build_model):
    model = build(*arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = Frozen
    return model


train.build_model = frozen
compiling.BACKEND = "eager"
with joined() as ranks:
    train.main(parse_train_config(sys.argv[1:]), ranks)
