"""`hf://`: what is fetched, and what is said where nothing is."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trained import glat

from glat.backbones import build
from glat.errors import UserError
from glat.hub.fetch import RUN_FILES, local, parse
from glat.runs import folder as run
from glat.runs.pretrained import load_pretrained
from glat.tagging.loading import load
from glat.urls import absolute, url_of


@pytest.fixture
def birds(trained, hub):
    """The run on the hub, beside code and pickles."""
    files = {path.name: path.read_bytes() for path in trained.iterdir() if path.name in RUN_FILES}
    hub.put("me/birds", {**files, "pytorch_model.bin": b"cos\nsystem\n", "modeling.py": b"raise SystemExit"})
    return "hf://me/birds"


def test_the_files_of_a_run_are_those_that_its_folder_has():
    record = {run.CONFIG, run.WEIGHTS, run.BEST_WEIGHTS, run.THRESHOLDS, run.EVALUATION, run.METRICS}
    assert set(RUN_FILES) == record


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("hf://a/b", ("a/b", None, None)),
        ("hf://a/b/", ("a/b", None, None)),
        ("hf://a/b@v1.0", ("a/b", "v1.0", None)),
        ("hf://a/b@refs/pr/3/x/y.safetensors", ("a/b", "refs/pr/3", "x/y.safetensors")),
        ("hf://a/b@main/runs/one", ("a/b", "main", "runs/one")),
        ("hf://a/b/Cnn10_mAP=0.380.safetensors", ("a/b", None, "Cnn10_mAP=0.380.safetensors")),
    ],
)
def test_addresses_are_taken_apart(url, parts):
    found = parse(url)
    assert (found.name, found.revision, found.path) == parts


@pytest.mark.parametrize("url", ["hf://a", "hf://", "hf://a/b/../../c", "hf://a b/c", "hf://a/b@", "hf://a/b@v@w"])
def test_what_is_no_address_is_said(url):
    with pytest.raises(UserError, match="is no address of the hub; give hf://owner/name"):
        parse(url)


def test_a_path_that_was_an_address_is_one_again(tmp_path, monkeypatch):
    assert url_of(Path("hf://a/b")) == "hf://a/b"
    assert url_of(Path("s3://bucket/x.tar")) == url_of("s3://bucket/x.tar") == "s3://bucket/x.tar"
    for path in ("runs/a", "/runs/a", "C:/runs", "hf-dataset:runs/a", "hf-dataset:/runs/a", "a:b"):
        assert url_of(Path(path)) is None
    monkeypatch.chdir(tmp_path)
    assert str(absolute(Path("hf-dataset:x"))) == f"hf-dataset:{tmp_path.resolve()}/x"
    assert absolute(Path("hf://a/b")) == Path("hf://a/b")
    assert absolute(Path("x")) == tmp_path.resolve() / "x"


def test_only_weights_and_json_are_fetched_and_once(birds, hub, trained):
    folder = local(birds)
    assert {path.name for path in folder.iterdir()} == {path.name for path in trained.iterdir()} & set(RUN_FILES)
    asked = [line for line in hub.requests if line.startswith("GET /me/birds/resolve")]
    assert len(asked) == len(list(folder.iterdir()))
    assert not [line for line in asked if "bin" in line or ".py" in line]
    assert local(birds) == folder
    assert [line for line in hub.requests if line.startswith("GET /me/birds/resolve")] == asked


def test_a_run_in_a_folder_of_a_revision(hub, trained):
    files = {f"runs/one/{path.name}": path.read_bytes() for path in trained.iterdir() if path.name in RUN_FILES}
    hub.put("me/several", files)
    hub.repos["me/several"].branches["v2"] = hub.repos["me/several"].branches.pop("main")
    assert load("hf://me/several@v2/runs/one", device="cpu").classes == run.open_run(trained).classes


def test_weights_alone_are_fetched_as_safetensors_and_never_as_pickles(hub, tmp_path):
    network = build("cnn10", 4, 0.1)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    hub.put("me/weights", {"cnn10.safetensors": (tmp_path / "w.safetensors").read_bytes(), "cnn10.pth": b"\x80"})
    found = load_pretrained("hf://me/weights/cnn10.safetensors")
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    tagger = load("hf://me/weights/cnn10.safetensors", labels=list("abcd"), device="cpu")
    assert tagger.classes == tuple("abcd")
    hub.requests.clear()
    with pytest.raises(
        UserError, match=r"takes safetensors only.* hf download me/weights cnn10.pth, and give the file"
    ):
        load_pretrained("hf://me/weights/cnn10.pth")
    assert not hub.requests
    with pytest.raises(UserError, match="has no file other.safetensors; see http"):
        load_pretrained("hf://me/weights/other.safetensors")
    with pytest.raises(UserError, match=r"holds no run of glat \(it has no config.json\); .* hf://me/weights/NAME"):
        load_pretrained("hf://me/weights")
    hub.put("me/bert", {"config.json": b'{"model_type": "bert"}'})
    with pytest.raises(UserError, match="holds no run of glat .its config.json is of another program"):
        load("hf://me/bert")
    with pytest.raises(UserError, match="runs and weights are read from this machine or the hub"):
        load("s3://bucket/run")


def test_a_download_that_is_cut_goes_on_where_it_was(birds, hub, monkeypatch, trained):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.cut = 1
    folder = local(birds)
    assert (folder / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert (folder / "best.safetensors").read_bytes() == (trained / "best.safetensors").read_bytes()


def test_weights_that_are_not_what_was_pushed_are_refused(birds, hub):
    data = bytearray(hub.files("me/birds")["model.safetensors"])
    data[-5] ^= 1
    hub.put("me/birds", {**hub.files("me/birds"), "model.safetensors": bytes(data)})
    with pytest.raises(UserError, match=r"model.safetensors is damaged: its sha256 does not match"):
        load(birds, device="cpu")


def nothing(hub, monkeypatch, case):
    """Bring one thing about that keeps a run from being fetched."""
    if case == "offline":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    elif case == "no network":
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    elif case == "gated":
        hub.repos["me/birds"].gated = True
        monkeypatch.delenv("HF_TOKEN")
    elif case == "private":
        hub.repos["me/birds"].private = True
        monkeypatch.delenv("HF_TOKEN")
    elif case == "out of order":
        hub.status = 503


@pytest.mark.parametrize(
    ("case", "url", "message"),
    [
        ("offline", "hf://me/birds", "is not in the cache .*cache, and HF_HUB_OFFLINE is set; unset it"),
        ("no network", "hf://me/birds", "is not in the cache .*, and http://127.0.0.1:9 cannot be reached"),
        ("missing", "hf://me/bords", "hf://me/bords: there is no such model, or it is private and your token may not"),
        ("revision", "hf://me/birds@v9", "hf://me/birds has no revision v9; http.*/me/birds lists its branches"),
        ("private", "hf://me/birds", "it is private and no token is set; check the name, or log in with hf auth login"),
        ("gated", "hf://me/birds", "asks for consent: accept its terms on http.*/me/birds, and log in"),
        ("out of order", "hf://me/birds", "the hub answers 503"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(birds, hub, tmp_path, monkeypatch, capsys, case, url, message):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (tmp_path / "a.wav").write_bytes(b"")
    nothing(hub, monkeypatch, case)
    assert glat(monkeypatch, "tag", tmp_path / "a.wav", "--run", url) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said), said
    assert "hf_" not in said.replace("hf_hub", "")


def test_a_cache_that_cannot_be_written(birds, monkeypatch):
    def makedirs(*arguments, **options):
        raise OSError(30, "Read-only file system", str(arguments[0]))

    monkeypatch.setattr("huggingface_hub.file_download.os.makedirs", makedirs)
    with pytest.raises(
        UserError, match="cannot be written .*Read-only file system.*; set HF_HOME to a folder that can"
    ):
        local(birds)


@pytest.mark.parametrize("case", ["offline", "no network", "private", "out of order"])
def test_what_is_in_the_cache_needs_no_hub(birds, hub, monkeypatch, case):
    folder = local(birds)
    nothing(hub, monkeypatch, case)
    assert local(birds) == folder
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be|HF_HUB_OFFLINE is set|private|503"):
        local(birds)


def test_a_run_of_the_hub_is_evaluated_and_drawn_and_never_written_to(birds, trained, tmp_path, monkeypatch, capsys):
    found = []
    for name in (birds, trained):
        assert (
            glat(monkeypatch, "evaluate", "--run", name, "--json", tmp_path / "e.json", "--resamples", 0, "--overwrite")
            == 0
        )
        first = json.loads((tmp_path / "e.json").read_text())
        assert first.pop("run") == str(name)
        found.append(first)
    assert found[0] == found[1]
    capsys.readouterr()
    before = sorted(path.name for path in local(birds).iterdir())
    assert glat(monkeypatch, "evaluate", "--run", birds, "--thresholds") == 2
    assert "hf download me/birds --local-dir FOLDER, and give --run FOLDER" in capsys.readouterr().err
    assert glat(monkeypatch, "plot", birds) == 2
    assert "give --out" in capsys.readouterr().err
    monkeypatch.setattr("glat.plots.runs.save", lambda figure, path: path.touch())
    assert glat(monkeypatch, "plot", birds, "--out", tmp_path / "c.png") == 0
    assert sorted(path.name for path in local(birds).iterdir()) == before


def test_without_huggingface_hub_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"hf://a/b: it needs huggingface_hub: pip install 'glat\[hub\]'"):
        local("hf://a/b")
    assert local("runs/a").name == "a"
