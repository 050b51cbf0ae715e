"""`glat export` and `Tagger.export` as users run them."""

import json
import shutil
import subprocess
import sys

import exported
import pytest
import soundfile
import sounds
import torch
from trained import glat as command
from trained import train_here

import glat
from glat.export import write
from glat.export.graph import OUTPUTS
from glat.files import TEMPORARY

CLASSES = ("dog_bark", "Glocke, groß 🔔", "rain")


def write_recordings(folder):
    """Six recordings of half a second a class."""
    for i, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True)
        for k in range(6):
            soundfile.write(folder / label / f"{k}.wav", sounds.noise(0.5, 16_000, seed=10 * i + k), 16_000)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Two steps at odd settings: half a second, one crop, a moving average of the weights, the released program."""
    folder = tmp_path_factory.mktemp("export")
    data = write_recordings(folder / "recordings")
    train_here(
        *("--data", data, "--clip-seconds", 0.5, "--num-crops", 1, "--crop-seconds", 0.321, "--width", 0.03),
        *("--preset", "released", "--ema", 0.5, "--batch-size", 4, "--iterations", 2, "--run-dir", folder / "run"),
    )
    return folder / "run"


@pytest.fixture(scope="session")
def pt2(run):
    """What the command says, and the file."""
    out = run.parent / "run.pt2"
    said = subprocess.run(
        [sys.executable, "-m", "glat", "export", run, out], capture_output=True, text=True, timeout=240, check=False
    )
    assert said.returncode == 0, said.stderr
    return said.stdout, out


def test_the_command_says_what_it_wrote_and_how_near_it_is(run, pt2):
    said, out = pt2
    assert "wave [B, 16000] float32: B clips of 0.5 s at 32000 Hz" in said
    assert "of the run's data and a clip of silence" in said
    assert all(name in said for name, described in OUTPUTS.items() if "float" in described)
    assert f"wrote {out}" in " ".join(said.split())
    assert not [path for path in out.parent.iterdir() if path.name.startswith(TEMPORARY)]


# What a machine without glat has: nothing of it can be imported.
READER = """
import json, sys
class Nothing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "glat":
            raise ImportError("glat is not here")
sys.meta_path.insert(0, Nothing())
import torch
extra = {"glat.json": ""}
network = torch.export.load(sys.argv[1], extra_files=extra).module()
facts = json.loads(extra["glat.json"])
found = network(torch.load(sys.argv[2]))
torch.save({name: found[name] for name in facts["outputs"]}, sys.argv[3])
assert not any(name.split(".")[0] == "glat" for name in sys.modules)
print(json.dumps(facts))
"""


def test_a_pt2_file_runs_where_glat_is_not_installed(run, pt2, tmp_path):
    wave = 0.1 * torch.randn(7, 16_000, generator=torch.Generator().manual_seed(0))
    torch.save(wave, tmp_path / "wave")
    said = subprocess.run(
        [sys.executable, "-I", "-c", READER, pt2[1], tmp_path / "wave", tmp_path / "found"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    facts = json.loads(said.stdout)
    assert tuple(facts["classes"]) == tuple(sorted(CLASSES))
    assert facts["origin"]["run"] == "run"
    assert facts["origin"]["preset"] == "released"
    assert len(facts["origin"]["weights_sha256"]) == 64
    assert (facts["suppress"], facts["frame_classifier"]) == ("released", "local")
    found = torch.load(tmp_path / "found")
    model = glat.load_pretrained(run)
    with torch.no_grad():
        wanted = model(wave)
    torch.testing.assert_close(found["fused_probs"], wanted.fused_probs, rtol=0, atol=1e-5)
    assert torch.equal(found["crop_starts"], wanted.crops.starts)
    assert torch.equal(found["crop_classes"], wanted.crops.classes)


def test_recordings_to_compare_on_are_those_given(run, tmp_path):
    soundfile.write(tmp_path / "long.wav", sounds.noise(3, 44_100), 44_100)
    soundfile.write(tmp_path / "short.wav", sounds.noise(0.1, 8_000), 8_000)
    tagger = glat.load(run, device="cpu")
    parity = tagger.export(tmp_path / "a.pt2", check=[tmp_path / "long.wav", tmp_path / "short.wav"])
    assert parity.sounds == "2 recordings and a clip of silence"
    assert (parity.clips, parity.crops) == (3, 3)
    assert max(parity.largest.values()) < 1e-5
    assert (tmp_path / "a.pt2").exists()


def test_where_the_run_s_data_is_gone_sounds_are_made_and_it_says_so(run, monkeypatch):
    from glat.config import DataConfig
    from glat.export.sounds import of_run

    found = of_run(DataConfig(data=run / "nowhere", clip_seconds=0.5), 0, 32_000, 16_000)
    assert found.what.startswith("8 synthesised soundscapes and a clip of silence; the run's data cannot be had: ")
    assert found.waves.shape == (9, 16_000)


def test_the_run_s_recordings_are_found_where_its_table_lies_apart_from_them(tmp_path):
    from glat.config import DataConfig
    from glat.export.sounds import of_run

    (tmp_path / "audio").mkdir()
    for name in "ab":
        soundfile.write(tmp_path / "audio" / f"{name}.wav", sounds.noise(2, 32_000), 32_000)
    table = tmp_path / "tables" / "events.tsv"
    table.parent.mkdir()
    table.write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tx\nb.wav\t0\t1\ty\n")
    config = DataConfig(data=table, audio=tmp_path / "audio", clip_seconds=0.5)
    assert of_run(config, 0, 32_000, 16_000).what == "8 clips of the run's data and a clip of silence"


def test_a_file_that_says_something_else_is_not_kept(run, tmp_path, monkeypatch, capsys):
    usual = write.write_pt2

    def wrong(program, path, metadata):
        for name, tensor in program.state_dict.items():
            if name.endswith("fc_audioset.bias"):
                tensor.add_(1e-2)
        usual(program, path, metadata)

    monkeypatch.setattr(write, "write_pt2", wrong)
    assert command(monkeypatch, "export", run, tmp_path / "a.pt2") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "a.pt2 is not written, as it does not say what the run says: " in error
    assert not list(tmp_path.iterdir())


def refused(monkeypatch, capsys, *arguments):
    assert command(monkeypatch, "export", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_is_one_line(run, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(b"my own")
    for arguments, wanted in [
        ([run, tmp_path / "a.tflite"], "ends in .onnx or .pt2"),
        ([run, tmp_path / "nowhere" / "a.pt2"], "in a folder that exists"),
        ([run, run / "model.safetensors.pt2", "--tolerance", 2], "tolerance"),
        ([run, mine], "is not an ONNX file of glat export"),
        ([tmp_path / "no", tmp_path / "a.pt2"], "no"),
        ([run, tmp_path / "a.pt2", "--labels", mine], "leave the labels out"),
        ([run, tmp_path / "a.pt2", "--check", tmp_path / "gone.wav"], "gone.wav"),
    ]:
        assert wanted in refused(monkeypatch, capsys, *arguments)
    assert mine.read_bytes() == b"my own"
    assert sorted(tmp_path.iterdir()) == [mine]


def test_without_onnx_it_says_what_to_install(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    error = refused(monkeypatch, capsys, run, tmp_path / "a.onnx")
    assert "pip install 'glat[export]', or export OUT.pt2" in error


def test_the_command_replaces_its_own_files_only(run, pt2, tmp_path):
    shutil.copy(pt2[1], tmp_path / "a.pt2")
    write.output("OUT", tmp_path / "a.pt2")
    torch.save({}, tmp_path / "b.pt2")
    with pytest.raises(glat.UserError, match="add --overwrite"):
        write.output("OUT", tmp_path / "b.pt2")
    write.output("OUT", tmp_path / "b.pt2", overwrite=True)


def test_an_operator_of_somebody_s_own_is_named(tmp_path):
    @torch.library.custom_op("glat_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    twice.register_fake(torch.empty_like)

    class Twice(torch.nn.Module):
        def forward(self, x):
            return twice(x)

    model = exported.own_model()
    model.global_.features = torch.nn.Sequential(model.global_.features, Twice())
    with pytest.raises(glat.UserError, match="calls glat_test.twice.default"):
        exported.export(model, tmp_path / "a.pt2")


def test_a_tagger_of_the_global_stream_alone_is_refused(run, tmp_path):
    with pytest.raises(glat.UserError, match="load the model with both"):
        glat.load(run, device="cpu", streams="global").export(tmp_path / "a.pt2")
