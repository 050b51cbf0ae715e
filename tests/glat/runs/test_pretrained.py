"""Weights from elsewhere: read as tensors only, recognised, and put into both streams."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trained import train_here

from glat.backbones import BACKBONES, TALNet, build
from glat.config import ModelConfig, TrainConfig, to_json
from glat.errors import UserError
from glat.model import GlobalLocal, build_model
from glat.runs import folder as run
from glat.runs.pretrained import initialise, load_pretrained, match_network, read_pretrained
from glat.runs.weights import load_model, save_weights

FROZEN = {
    "spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
    "spectrogram_extractor.stft.conv_imag.weight": torch.zeros(513, 1, 1024),
    "logmel_extractor.melW": torch.zeros(513, 64),
}
CLASSES = ("a", "b", "c", "d", "e")


def network(name, num_classes=5, width=0.125, **options):
    torch.manual_seed(3)
    stream = build(name, num_classes, width, **options)
    for part in stream.modules():  # statistics that no fresh network has
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.running_mean.uniform_(-0.1, 0.1)
    return stream


def saved(path, stream, **more):
    torch.save({"model": stream.state_dict(), "iteration": 7} | more, path)
    return path


def model_of(name, num_classes=5, **options):
    torch.manual_seed(0)
    config = ModelConfig(backbone=name, width=0.125, num_crops=2, crop_seconds=0.5, **options)
    return build_model(config, num_classes), config


def test_a_checkpoint_of_panns_gives_its_outputs(tmp_path, golden, rebuild):
    # Of its other networks the outputs are compared in test_backbones.py, and that they are recognised below.
    recorded = json.loads((golden / "weights.json").read_text())["Cnn10"]["parameters"]
    weights = {key: torch.from_numpy(np.asarray(rebuild.rebuild(key, tuple(s)))) for key, s in recorded.items()}
    torch.save({"model": FROZEN | weights, "iteration": 600_000}, tmp_path / "panns.pth")
    loaded = load_pretrained(tmp_path / "panns.pth")
    assert (type(loaded), loaded.num_classes, loaded.training) == (BACKBONES["cnn10"], 527, False)
    with torch.no_grad():
        probs = loaded(torch.from_numpy(rebuild.bursts(7, 2, 160_000))).sigmoid()
    np.testing.assert_allclose(probs, np.load(golden / "cnn10.npz")["clipwise_output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_network_is_recognised_from_its_weights(name, tmp_path):
    stream = network(name)
    found = read_pretrained(saved(tmp_path / "any.pt", stream))
    assert (found.backbones, type(found.network)) == ((name, name), BACKBONES[name])
    assert found.width == pytest.approx(0.125)
    assert all(torch.equal(t, stream.state_dict()[key]) for key, t in found.network.state_dict().items())


@pytest.mark.parametrize("pooling", ["linear", "attention"])
def test_talnets_own_file_has_no_normaliser_and_says_so(pooling, tmp_path):
    stream = network("talnet", clip_pooling=pooling)
    bare = {key: t for key, t in stream.state_dict().items() if not key.startswith("standardise.")}
    torch.save({"model": bare, "optimizer": {}}, tmp_path / "TALNet.pt")
    with pytest.warns(UserWarning, match="no normaliser: call estimate_normalizer"):
        loaded = load_pretrained(tmp_path / "TALNet.pt")
    assert isinstance(loaded, TALNet)
    assert loaded.pooling == pooling
    model, config = model_of("talnet", clip_pooling=pooling)
    model.estimate_normalizer([torch.randn(4, 16_000, generator=torch.Generator().manual_seed(0))])
    estimated = model.global_.standardise.mean.clone()
    lines = initialise(model, read_pretrained(tmp_path / "TALNet.pt"), config, CLASSES)
    assert torch.equal(model.local_.standardise.mean, estimated)
    assert torch.equal(model.local_.fc_prob.weight, stream.fc_prob.weight)
    assert "talnet: not in these weights, left as it starts: standardise.mean, standardise.deviation" in lines


def test_a_state_dict_by_itself_and_of_data_parallel(tmp_path):
    stream = network("cnn10")
    torch.save({f"module.{key}": t for key, t in stream.state_dict().items()}, tmp_path / "w.pth")
    assert torch.equal(load_pretrained(tmp_path / "w.pth").fc1.weight, stream.fc1.weight)


class Hostile:
    """What runs code where a pickle is read without care."""

    def __reduce__(self):
        return (Path.touch, (Path("run-by-pickle"),))


@pytest.mark.parametrize("more", [{"sampler": {"indexes": np.arange(3)}}, {"sampler": Hostile()}])
def test_other_objects_are_refused_and_the_way_out_works(more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = network("cnn10")
    path = saved(tmp_path / "own.pth", stream, **more)
    with pytest.raises(UserError, match="glat runs nothing that a file brings along") as error:
        load_pretrained(path)
    assert not (tmp_path / "run-by-pickle").exists()
    hint = str(error.value).split("convert it: python ")[1].split(", and give")[0]
    subprocess.run([sys.executable, *shlex.split(hint)], cwd=tmp_path, check=True)
    assert torch.equal(load_pretrained("weights.pth").fc1.weight, stream.fc1.weight)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "text.pth").write_text("not a checkpoint")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "folder").mkdir()
    cut = saved(tmp_path / "cut.pth", network("cnn10"))
    cut.write_bytes(cut.read_bytes()[:1000])
    torch.save({"model": {"layer.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    own = network("cnn10").state_dict()
    half = dict(own)
    del half["conv_block2.conv1.weight"]
    torch.save(half, tmp_path / "half.pth")
    torch.save({0: torch.zeros(2)}, tmp_path / "numbers.pth")
    torch.save(own | {"fc_audioset.weight": torch.zeros(7)}, tmp_path / "flat.pth")
    torch.save(own | {"fc_audioset.weight": torch.zeros(1, 1).expand(10**9, 51)}, tmp_path / "endless.pth")
    torch.save(own | {"fc1.bias": torch.full_like(own["fc1.bias"], torch.nan)}, tmp_path / "nan.pth")
    torch.save(own | {"fc1.bias": own["fc1.bias"].int()}, tmp_path / "whole.pth")
    torch.save(model_of("cnn10")[0].state_dict(), tmp_path / "run.pt")
    for name, said in {
        "missing.pth": "there is no",
        "run.pt": "holds both streams of a run; give the run's folder",
        "text.pth": "damaged or no checkpoint",
        "empty.pth": "damaged or no checkpoint",
        "cut.pth": "damaged or no checkpoint",
        "folder": "is no run folder",
        "other.pth": r"weights of no network that glat knows \(layer.weight",
        "list.pth": "holds no state dict",
        "numbers.pth": "its names are no text",
        "flat.pth": r"its classifier fc_audioset.weight is \(7,\), wanted \[classes, channels\]",
        "endless.pth": "a tensor is none of plain numbers",
        "nan.pth": "holds values that are not finite, in fc1.bias",
        "whole.pth": r"fc1.bias: \(64,\) int32 instead of \(64,\) float32",
        "half.pth": "does not fit this network, 1 entries differ: conv_block2.conv1.weight: missing",
    }.items():
        with pytest.raises(UserError, match=said):
            load_pretrained(tmp_path / name)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_both_streams_start_from_the_weights_and_other_classes_replace_the_last_layer(name, tmp_path):
    stream = network(name, num_classes=7)
    found = read_pretrained(saved(tmp_path / "w.pth", stream))
    model, config = model_of(name)
    fresh = {key: t.clone() for key, t in model.state_dict().items()}
    lines = initialise(model, found, config, CLASSES)
    assert "its 7 classes are not the 5 of these recordings: the last layer starts anew" in lines
    given = stream.state_dict()
    for prefix in ("global_.", "local_."):
        for key, tensor in getattr(model, prefix[:-1]).state_dict().items():
            last = key.startswith(("fc_audioset.", "fc_prob."))
            assert torch.equal(tensor, fresh[prefix + key] if last else given[key]), key
    same, config = model_of(name, num_classes=7)
    assert len(initialise(same, found, config, tuple("abcdefg"))) == 1
    assert all(torch.equal(t, given[key]) for key, t in same.local_.state_dict().items())


def test_at_sca_starts_as_the_cnn10_it_is_given(tmp_path):
    stream = network("cnn10").eval()
    found = read_pretrained(saved(tmp_path / "w.pth", stream))
    model, config = model_of("at_sca")
    assert match_network(config, found) == config
    lines = initialise(model, found, config, CLASSES)
    assert any("left as it starts: sca1" in line for line in lines)
    wave = 0.1 * torch.randn(2, 32_000)
    with torch.no_grad():
        torch.testing.assert_close(model.eval().local_(wave), stream(wave))


def run_folder(folder, **options):
    """The folder of a run of five classes."""
    model, config = model_of("cnn10", **options)
    folder.mkdir()
    recorded = to_json(TrainConfig(model=config))
    facts = {"config": recorded, "classes": CLASSES, "clip_samples": 32_000, "fingerprint": "x"}
    (folder / run.CONFIG).write_text(json.dumps(facts))
    save_weights(folder, model)
    return model


@pytest.mark.parametrize("share", ["nothing", "convolutions", "all"])
def test_a_run_starts_each_stream_from_its_own(share, tmp_path):
    before = run_folder(tmp_path / "run", share=share)
    loaded = load_pretrained(tmp_path / "run")
    assert isinstance(loaded, GlobalLocal)
    assert (loaded.local_ is loaded.global_) == (share == "all")
    assert (loaded.local_.conv_block1.conv1 is loaded.global_.conv_block1.conv1) == (share != "nothing")
    found = read_pretrained(tmp_path / "run")
    model, config = model_of("cnn10")
    torch.nn.init.zeros_(model.local_.fc1.weight)
    assert len(initialise(model, found, config, CLASSES)) == 1
    assert torch.equal(model.global_.fc1.weight, before.global_.fc1.weight)
    assert torch.equal(model.local_.fc1.weight, before.local_.fc1.weight)
    renamed, config = model_of("cnn10")
    kept = renamed.local_.fc_audioset.weight.clone()
    lines = initialise(renamed, found, config, ("a", "b", "c", "d", "other"))
    assert "its 5 classes are not the 5 of these recordings" in lines[1]
    assert torch.equal(renamed.local_.fc_audioset.weight, kept)


def test_other_networks_and_widths_are_named(tmp_path):
    found = read_pretrained(saved(tmp_path / "w.pth", network("cnn10")))
    assert match_network(ModelConfig(), found).width == pytest.approx(0.125)
    for config, said in [
        (ModelConfig(backbone="resnet38"), "holds cnn10, and the stream is resnet38; give --backbone cnn10"),
        (ModelConfig(local_backbone="cnn14"), "holds cnn10, and the stream is cnn14; give --local-backbone cnn10"),
        (ModelConfig(width=0.5), "has width 0.125, and --width is 0.5; leave --width out"),
    ]:
        with pytest.raises(UserError, match=said):
            match_network(config, found)


def test_train_py_starts_from_a_checkpoint_and_from_the_run_that_made_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "w.pth", network("cnn10", num_classes=527))
    small = ("--iterations", "1", "--batch-size", "2", "--train-clips", "4", "--eval-clips", "4", "--clip-seconds", "1")

    def train(*arguments):
        train_here(*small, "--crop-seconds", "0.5", *arguments)
        return capsys.readouterr().out

    said = train("--init-from", "w.pth", "--run-dir", "a")
    assert "both streams start from" in said
    assert "its 527 classes are not the 12 of these recordings: the last layer starts anew" in said
    assert "width 0.125" in said
    said = train("--init-from", "a", "--run-dir", "b", "--learning-rate", "1e-9")
    assert "starts anew" not in said
    first, second = (load_model(run.open_run(tmp_path / name)) for name in "ab")
    torch.testing.assert_close(second.local_.fc_audioset.weight, first.local_.fc_audioset.weight, rtol=0, atol=1e-7)
    assert read_pretrained(tmp_path / "b").classes == run.open_run(tmp_path / "a").classes
