"""`glat tag` and `glat evaluate` on a GPU: what they say on the CPU, of a run that was trained on the GPU."""

import json

import numpy as np
import pytest
import soundfile
from processes import finish, start

from . import needed  # noqa: F401
from .small import ON

GLAT = ("-m", "glat")


@pytest.fixture(scope="module")
def run(flags, train, tmp_path_factory):
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("commands") / "run"
    train(*flags, "--compile", "off", "--iterations", 10, "--run-dir", folder)
    return folder


def said(*arguments, **environment):
    status, text, complained = finish(start(*arguments, command=GLAT, **environment), timeout=300)
    assert status == 0, complained
    return text


def elsewhere():
    """The environment in which the CPU runs."""
    return {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""} if ON == "cuda" else {}


def test_tags_are_the_cpus(run, tmp_path):
    rate = 32_000
    wave = 0.2 * np.random.default_rng(0).standard_normal(13 * rate) * (np.arange(13 * rate) // rate % 3 == 0)
    soundfile.write(tmp_path / "sound.wav", wave, rate)
    arguments = ("tag", tmp_path / "sound.wav", "--run", run, "--json", "--top", 50)
    exact = {"NVIDIA_TF32_OVERRIDE": "0"}  # with 10 bits another frame may peak, and another crop be heard
    here, there = (json.loads(said(*arguments, **environment)) for environment in (exact, elsewhere()))
    here, there = ([file] if isinstance(file, dict) else file for file in (here, there))
    assert len(here) == len(there) == 1
    found, wanted = ({tag["class"]: tag["probability"] for tag in file[0]["tags"]} for file in (here, there))
    assert found.keys() == wanted.keys()
    for name, probability in wanted.items():
        assert found[name] == pytest.approx(probability, abs=1e-3), name


def test_an_evaluation_is_the_cpus(run):
    here, there = (said("evaluate", "--run", run, **environment) for environment in ({}, elsewhere()))
    for text in (here, there):
        for word in ("global", "local", "fused", "mAP"):
            assert word in text
