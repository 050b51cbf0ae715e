"""`glat push`: what reaches the hub, what does not, and what stands on the card."""

import json
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile
import yaml
from hub_stub import TOKEN
from huggingface_hub import constants
from processes import finish, start, weights
from sounds import noise
from trained import glat, train_here

import glat as package
from glat.errors import UserError
from glat.hub.card import card
from glat.hub.fetch import RUN_FILES, local
from glat.hub.package import package as package_of
from glat.runs.digests import read_record, read_weights, write_record, write_weights
from glat.runs.folder import network_digest, open_run
from glat.runs.weights import NETWORK

COMMAND = ("-m", "glat")


def test_a_pushed_run_pulled_again_tags_alike_in_processes_of_their_own(
    trained, hub, environment, tmp_path, monkeypatch, capsys
):
    soundfile.write(tmp_path / "a.wav", noise(3.0), 32_000)
    status, said, complained = finish(start("push", trained, "me/birds", "--no-score", command=COMMAND, **environment))
    assert (status, complained) == (0, "")
    assert f"pushed: {hub.url}/me/birds/commit/" in said
    assert "no licence is chosen" in said
    assert TOKEN not in said
    tag = ("tag", tmp_path / "a.wav", "--json", "--run")
    pulled = finish(start(*tag, "hf://me/birds", command=COMMAND, **environment))
    assert glat(monkeypatch, *tag, trained) == 0
    assert pulled == (0, capsys.readouterr().out, "")  # the same to the last digit; no bars where nobody looks
    fetched = tmp_path / "home" / "hub" / "models--me--birds" / "snapshots"
    assert {path.name for path in fetched.rglob("*.*")} == set(hub.files("me/birds")) - {"README.md", ".gitattributes"}


def test_what_is_pushed_is_weights_and_json_without_the_machine(trained, hub, monkeypatch, capsys):
    assert glat(monkeypatch, "push", trained, "me/birds", "--no-score", "--license", "cc-by-4.0") == 0
    assert "licence" not in capsys.readouterr().out
    files = hub.files("me/birds")
    assert sorted(files) == [
        ".gitattributes",
        "README.md",
        *sorted(set(RUN_FILES) - {"best.safetensors", "thresholds.json"}),
    ]
    assert files["model.safetensors"] == (trained / "model.safetensors").read_bytes()
    for name, data in files.items():
        assert b"secret_project" not in data, name


def test_paths_are_names_also_where_the_weights_know_them(trained, hub, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    for name in ("config.json", "model.safetensors"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((trained / name).read_bytes())
    entries, _ = read_record(folder / "config.json")
    entries["config"]["model"]["init_from"] = "/home/alice/secret_project/Cnn10.pth"
    entries["config"]["data"]["data"] = "/home/alice/secret_project/birds.csv"
    write_record(folder / "config.json", entries)
    tensors, facts, _ = read_weights(folder / "model.safetensors")
    write_weights(folder / "model.safetensors", tensors, {**facts, NETWORK: network_digest(entries)})
    out = tmp_path / "out"
    assert glat(monkeypatch, "push", folder, "me/x", "--no-score", "--dry-run", out) == 0
    assert not hub.requests
    assert b"alice" not in b"".join(path.read_bytes() for path in out.iterdir())
    config = open_run(out).config
    assert (str(config.model.init_from), str(config.data.data)) == ("Cnn10.pth", "birds.csv")
    package.load(out, device="cpu")  # weights and config fit each other
    was, is_ = weights(folder / "model.safetensors"), weights(out / "model.safetensors")
    assert all(was[name].equal(is_[name]) for name in was if name)


def test_the_card_is_written_from_the_run(trained, hub, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert glat(monkeypatch, "push", trained, "me/birds", "--dry-run", out) == 0
    capsys.readouterr()
    assert not hub.requests
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["license"]) == ("glat", "unknown")
    assert front["pipeline_tag"] == "audio-classification"
    assert "No licence yet" in card
    found = tmp_path / "found.json"
    assert glat(monkeypatch, "evaluate", "--run", trained, "--json", found) == 0
    fused = json.loads(found.read_text())["streams"]["fused"]
    value, (low, high) = fused["mAP"], fused["intervals"]["mAP"]
    assert f"| fused | {value:.3f} [{low:.3f}, {high:.3f}] |" in card
    if find_spec("sed_scores_eval"):
        of_frames = json.loads(found.read_text())["events"]["evidence"]["frames"]
        low, high = of_frames["intervals"]["segment_F1"]
        assert f"| segment F1 | {of_frames['scores']['segment_F1']:.3f} [{low:.3f}, {high:.3f}] | " in card
        assert " classes, F1 at 0.5: of the global stream's frames, of " in card
    by_name = {m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert by_name["mAP"] == pytest.approx(value, abs=1e-6)
    assert all(label in card for label in open_run(trained).classes)
    assert "GFLOP" in card
    # The same from a file, which is of this run and these weights or refused.
    again = tmp_path / "again"
    assert glat(monkeypatch, "push", trained, "me/birds", "--evaluation", found, "--dry-run", again) == 0
    assert (again / "README.md").read_text() == card
    capsys.readouterr()
    for more, what in ((("--best",), "is of .*run; give what glat evaluate"), (("--no-score",), "exclude each other")):
        assert (
            glat(monkeypatch, "push", trained, "me/b", "--evaluation", found, "--dry-run", tmp_path / "c", *more) == 2
        )
        assert re.search(what, capsys.readouterr().err)
    assert glat(monkeypatch, "push", trained, "me/birds", "--dry-run", out) == 2
    assert "is no empty folder" in capsys.readouterr().err


def test_the_commands_of_the_card_work(trained, hub, tmp_path, monkeypatch, capsys):
    assert glat(monkeypatch, "push", trained, "me/birds", "--no-score", "--best", "--revision", "v1") == 0
    card = hub.files("me/birds", "v1")["README.md"].decode()
    assert "model.safetensors" not in hub.files("me/birds", "v1")
    assert set(hub.files("me/birds")) == {".gitattributes"}
    monkeypatch.chdir(tmp_path)
    soundfile.write("street.wav", noise(2.0), 32_000)
    (tmp_path / "other.csv").write_text("file,label\nstreet.wav,bell\nstreet2.wav,hum\n")
    soundfile.write("street2.wav", noise(2.0, seed=1), 32_000)
    (tmp_path / "recordings.csv").write_text(
        "file,label\n" + "".join(f"street{i}.wav,{'ab'[i % 2]}\n" for i in range(8))
    )
    for i in range(8):
        soundfile.write(f"street{i}.wav", noise(2.0, seed=i), 32_000)
    shell, python = re.search("```bash\n(.*?)```\n\n```python\n(.*?)```", card, re.DOTALL).groups()
    tag, evaluate, train = (line.split()[1:] for line in shell.splitlines())
    assert "hf://me/birds@v1" in tag
    assert glat(monkeypatch, *tag) == 0
    assert glat(monkeypatch, *evaluate) == 0
    train[train.index("recordings/")] = "recordings.csv"
    small = ("--num-crops", 2, "--crop-seconds", 1, "--batch-size", 2, "--iterations", 1, "--run-dir", "new")
    train_here(*train[1:], *small)
    assert open_run(tmp_path / "new").config.model.init_from == Path("hf://me/birds@v1")
    assert open_run(tmp_path / "new").config.model.width == 0.1
    exec(python, {})
    capsys.readouterr()
    assert glat(monkeypatch, "tag", "street.wav", "--run", "hf://me/birds@v1") == 2
    assert "has no model.safetensors, but best.safetensors; add --best" in capsys.readouterr().err


def test_a_second_push_removes_what_is_no_more_and_leaves_the_card(trained, hub, monkeypatch, capsys):
    push = ("push", trained, "me/birds", "--no-score")
    assert glat(monkeypatch, *push) == 0
    hub.put("me/birds", {**hub.files("me/birds"), "README.md": b"mine", "notes.txt": b"mine too"})
    capsys.readouterr()
    assert glat(monkeypatch, *push, "--best") == 0
    assert "its README.md is left as it is" in capsys.readouterr().out
    files = hub.files("me/birds")
    assert {"best.safetensors", "notes.txt"} <= set(files)
    assert "model.safetensors" not in files
    assert "evaluation.json" not in files  # of the other weights
    assert files["README.md"] == b"mine"
    assert glat(monkeypatch, *push, "--overwrite") == 0
    assert b"library_name: glat" in hub.files("me/birds")["README.md"]


@pytest.mark.parametrize("name", ["birds", "hf://me/birds", "me/birds@v1"])
def test_where_to_push_is_asked_for_as_it_is_typed(tmp_path, monkeypatch, capsys, name):
    assert glat(monkeypatch, "push", tmp_path, name) == 2
    said = f"error: {name} is no name of a repository; give owner/name, and a branch as --revision\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no token", "wants a token; log in with hf auth login, or set HF_TOKEN"),
        ("wrong token", "there is no such model, or it is private and your token may not see it"),
        ("no right", "your token has not the right to do that"),
        ("other program", "holds another program's model; choose another name, or add --overwrite"),
        ("public", "exists and is public; make it private on"),
        ("out of order", "the hub answers 500"),
        ("nobody there", "cannot be had from http://127.0.0.1:9"),
        ("name", "me/birds/x is no name of a repository; give owner/name"),
        ("damaged", "is damaged"),
    ],
)
def test_what_cannot_be_pushed_is_one_line_without_the_token(
    trained, hub, tmp_path, monkeypatch, capsys, case, message
):
    folder, name, more = trained, "me/birds", ()
    if case == "no token":
        monkeypatch.delenv("HF_TOKEN")
    elif case == "wrong token":
        monkeypatch.setenv("HF_TOKEN", "hf_wrongButSecret")
    elif case == "no right":
        hub.writes = False
    elif case == "other program":
        hub.put("me/birds", {"config.json": b'{"model_type": "bert"}'})
    elif case == "public":
        hub.put("me/birds", {})
        more = ("--private",)
    elif case == "out of order":
        hub.status = 500
        monkeypatch.setattr("time.sleep", lambda seconds: None)
    elif case == "nobody there":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
    elif case == "name":
        name = "me/birds/x"
    elif case == "damaged":
        folder = tmp_path / "damaged"
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            data = bytearray((trained / file).read_bytes())
            data[-5] ^= file == "model.safetensors"
            (folder / file).write_bytes(data)
    assert glat(monkeypatch, "push", folder, name, "--no-score", *more) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert message in said.err
    assert "hf_" not in said.err + said.out
    assert case == "other program" or "me/birds" not in hub.repos or "config.json" not in hub.files("me/birds")


def test_a_private_repository_is_made_and_seen_with_the_token_alone(trained, hub, monkeypatch, capsys):
    assert glat(monkeypatch, "push", trained, "me/birds", "--no-score", "--private") == 0
    assert hub.repos["me/birds"].private
    assert local("hf://me/birds").is_dir()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(trained / "no cache"))
    with pytest.raises(UserError, match="it is private and no token is set; check the name, or log in"):
        local("hf://me/birds")


def test_without_huggingface_hub_one_line_says_what_to_install(trained, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert glat(monkeypatch, "push", trained, "a/b") == 2
    assert capsys.readouterr().err == "error: glat push: it needs huggingface_hub: pip install 'glat[hub]'\n"


def test_the_card_of_a_network_of_somebodys_own_names_its_code_and_runs_none(trained, hub, tmp_path):
    packed = package_of(open_run(trained), tmp_path, best=True)
    config = packed.run.config
    model = replace(config.model, backbone="my_audio:network")
    text = card(
        replace(packed, run=replace(packed.run, config=replace(config, model=model), classes=("<b>a|b</b>",))),
        "me/birds",
        None,
        "mit",
        None,
    )
    assert "glat tag street.wav --run hf://me/birds --best --allow-code my_audio\n" in text
    assert "best=True, allow_code=['my_audio']" in text
    assert "code (my_audio:network), which is not here" in text
    assert r"&lt;b>a\|b&lt;/b>" in text
    assert "Not evaluated." in text
    assert "No licence yet" not in text
    assert "my_audio" not in sys.modules
