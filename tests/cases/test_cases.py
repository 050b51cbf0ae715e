"""Inputs as the world hands them over: what every command hears of each, and what it says.

A case is one input of a kind that public reports describe. `check-data`, `pack`, `train --dry-run` and `tag` must agree
on it: the duration of its recording, or the sentence that refuses it; the remark; the classes.
"""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tagging
import trained
from cases import containers as made
from cases import labels, listing, packs

import glat.data
from glat.commands.check_data import CheckData
from glat.commands.pack import Pack
from glat.data.packs import write
from glat.data.packs.filling import write_shard
from glat.errors import UserError
from glat.settings.training import parse_train_config
from glat.tagging.reading import FileSource
from glat.training import dry_run

RATE = 32_000
X = made.sound(1.0, RATE)
Y = made.sound(1.0, RATE, seed=1)
MP3 = made.mp3(made.sound(1.0, 44_100), "VARIABLE")
CBR = made.mp3(made.sound(1.0, 44_100), "CONSTANT")
FLAC = made.encoded(X, "FLAC", rate=RATE)
FLAGS = ("--width", "0.05", "--batch-size", "2", "--num-crops", "1", "--crop-seconds", "0.5", "--clip-seconds", "2")


@dataclass(frozen=True)
class Case:
    """What is given, and what must come of it in every command."""

    make: Callable[[Path], Path]  # what --data is
    flags: tuple[str, ...] = ()
    file: str | None = None  # the recording that the case is about
    seconds: float | None = None  # how much of it is heard; None: it is refused for `reason`
    reason: str = ""
    remark: str = ""
    error: str = ""  # the sentence with which every command that takes --data ends
    problem: str = ""  # what check-data says hurts
    said: str = ""  # what check-data and train --dry-run say else
    clips: int = 10  # that are heard, with those beside it
    classes: tuple[str, ...] = ("a", "b")


def heard(name, data, seconds=1.0, remark=""):
    return Case(lambda root: listing.beside(root, name, data), (), f"a/{name}", seconds, remark=remark, clips=11)


def refused(name, data, reason):
    return Case(lambda root: listing.beside(root, name, data), (), f"a/{name}", reason=reason)


def wav(samples, subtype="PCM_16"):
    return made.encoded(samples, "WAV", subtype, RATE)


CASES = {
    # A header is a claim
    "wav": heard("x.wav", wav(X)),
    "wav of size 0": heard("x.wav", made.wav(X, 0, rate=RATE), remark="counts 0 of 64000 bytes"),
    "wav of its first quarter": heard("x.wav", made.wav(X, 16_000, rate=RATE), remark="counts 16000 of 64000 bytes"),
    "wav into a pipe": heard("x.wav", made.wav(X, 0xFFFF_FFFF, 0xFFFF_FFFF, rate=RATE)),
    "wav with chunks behind": heard("x.wav", made.wav(X, behind=made.chunk(), rate=RATE)),
    "mp3": heard("x.mp3", MP3),
    "mp3, not counted": heard("x.mp3", made.uncounted(MP3), 1.03),
    "mp3, counted short": heard("x.mp3", made.miscounted(MP3, 0.25), remark="MPEG frames; all are heard"),
    "mp3, constant, not counted": heard("x.mp3", made.uncounted(CBR), 1.03),
    "two Ogg streams": heard(
        "x.ogg",
        made.encoded(X, "OGG", "VORBIS", RATE) + made.encoded(Y[: RATE // 2], "OGG", "VORBIS", RATE),
        1.5,
        "holds 2 Ogg streams in a row",
    ),
    "FLAC, counted short": heard("x.flac", made.flac_with_total(FLAC, RATE // 4), remark="counts 8000 of 32000"),
    "FLAC of unknown length": heard("x.flac", made.flac_with_total(FLAC, 0), remark="does not say its length"),
    "mp3 behind a tag that counts too many": heard(
        "x.mp3", made.id3v2(100, len(MP3) // 2) + MP3, remark="its ID3 tag counts"
    ),
    "mp3 behind a tag that counts too few": heard("x.mp3", made.id3v2(1_000, 20) + MP3),
    "mp3 behind something else": heard("x.mp3", made.ape() + MP3, remark="before its first MPEG frame"),
    "two FLAC files": heard("x.flac", FLAC + FLAC, 2.0, "holds 2 FLAC files in a row"),
    "wav without padding": heard("x.wav", made.unpadded(X, RATE)),
    "empty": refused("x.wav", b"", "is empty (0 bytes)"),
    "pointer of Git LFS": refused("x.wav", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "web page": refused("x.wav", b"\n<!DOCTYPE html><html></html>", "is a web page"),
    "another format": refused("x.wav", b"wvpk" + bytes(100), "is WavPack"),
    "cut wav": refused("x.wav", wav(X)[:-1], "is cut off: 63999 of 64000 bytes"),
    "cut RF64": refused("x.rf64", made.encoded(X, "RF64", rate=RATE)[:-1000], "is cut off"),
    "cut NIST": refused("x.sph", made.encoded(X, "NIST", rate=RATE)[:-1000], "is cut off"),
    "cut mp3": refused("x.mp3", MP3[:-500], "is cut off"),
    "flipped Ogg": refused(
        "x.ogg",
        next(made.damaged(made.encoded(X, "OGG", "VORBIS", RATE), 1, np.random.default_rng(5), "flip")),
        "is damaged",
    ),
    "without a length": refused("x.au", made.encoded(X, "IRCAM", rate=RATE), "does not state its length"),
    # What is heard is what sounds
    "channels that cancel": heard("x.wav", wav(np.stack([X, -0.99 * X], 1)), remark="channel 1 is heard alone"),
    "two channels": heard("x.wav", wav(np.stack([X, 0.3 * X], 1))),
    "scale of int16": refused("x.wav", wav(X * 32_767, "FLOAT"), "its samples are on another scale"),
    "constant": refused("x.wav", wav(np.full(RATE, 0.25)), "is constant: an offset of 0.25"),
    "silent": refused("x.wav", wav(np.zeros(RATE)), "is silent"),
    "NaN": refused("x.wav", wav(np.where(np.arange(RATE) == 9, np.nan, X), "FLOAT"), "holds NaN"),
    "clipped": heard("x.wav", wav(np.clip(4 * X, -1, 1)), remark="it is clipped"),
    "offset": heard("x.wav", wav(0.5 * X + 0.3), remark="an offset (DC) of 30%"),
    # Nothing vanishes in listing
    "behind a link": Case(listing.linked, clips=13),
    "train and test": Case(listing.divided, error=r"--data \S+/train --eval-data \S+/test"),
    "odd suffixes": Case(listing.odd_names, clips=16),
    # Labels
    "spelt twice": Case(labels.spelt_twice, classes=("b", "\u00c9pervier")),
    "negative clips": Case(labels.negatives),
    "joined by commas": Case(
        labels.joined_by_comma, problem="--label-separator ','", classes=("a,outdoor", "b,outdoor")
    ),
    "with its separator": Case(labels.joined_by_comma, ("--label-separator", ","), classes=("a", "b", "outdoor")),
    "stretches": Case(labels.stretches),
    "two cases": Case(labels.of_two_cases, problem="written in several ways", classes=("A", "B", "a", "b")),
    "nan": Case(labels.not_a_number, problem="write for a missing label", classes=("a", "b", "nan")),
    "names of Windows": Case(labels.renamed(lambda name: name.replace("/", "\\"))),
    "names of URLs": Case(labels.renamed(lambda name: name.replace("/", "%2F"))),
    "suffixes in capitals": Case(labels.renamed(lambda name: name.replace(".wav", ".WAV"))),
    "lines of old Macs": Case(labels.of_old_macs),
    "numbers with gaps": Case(
        labels.numbers_with_gaps, problem="written in several ways", classes=("3", "3.0", "4", "4.0")
    ),
    "a column a class": Case(labels.column_a_class, error="where each class has a column, make one column label"),
    "lists as text": Case(labels.lists_as_text, problem="lists written as text", classes=("['a']", "['b']")),
    "two columns of one name": Case(labels.two_columns, error="2 columns are called label"),
    # Packs of others
    "pack": Case(packs.pack),
    "virtual pack": Case(packs.virtual, error="its waveform is virtual"),
    "soft labels": Case(packs.soft, error="its target holds soft labels .*; give --label-threshold 0.5"),
    "soft labels and a threshold": Case(packs.soft, ("--label-threshold", "0.5")),
    "labels of 3.5": Case(packs.no_probability, ("--label-threshold", "0.5"), error="its target holds 3.5, which is"),
    "flipped names": Case(packs.flipped_name, said="its name is not Y<id>.wav, as the others are"),
    "a row without a label": Case(packs.unlabelled_row),
    "pack on int16's scale": Case(packs.on_the_scale_of_int16, problem="10 recordings give no clip", clips=0),
}


@pytest.fixture(scope="session")
def tagger(tmp_path_factory):
    return tagging.load(tagging.write_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="session")
def train():
    return trained.train_main()


def fields(flags):
    values = {flag[2:].replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    return {name: float(value) if name == "label_threshold" else value for name, value in values.items()}


def checked(data, case, folder, capsys):
    """Status, what check-data printed, and its report."""
    status = CheckData(data=data, json=folder / "report.json", workers=1, **fields(case.flags))()
    return status, capsys.readouterr().out, json.loads((folder / "report.json").read_text())


def packed(data, case, folder, capsys):
    """Seconds and remarks by name, and what was left out."""
    Pack(out=folder / "pack", data=data, clip_seconds=2.0, workers=1, **fields(case.flags))()
    clips = list(csv.DictReader((folder / "pack" / "clips.csv").open(encoding="utf-8")))
    skipped = {row["file"]: row["reason"] for row in csv.DictReader((folder / "pack" / "skipped.csv").open())}
    capsys.readouterr()
    return (
        {clip["name"]: int(clip["samples"]) / RATE for clip in clips},
        {c["name"]: c["remarks"] for c in clips},
        skipped,
    )


def trained_on(train, data, case, monkeypatch, capsys):
    """What `train --dry-run` loads, and what it prints."""
    sets = []
    opened = glat.data.load
    monkeypatch.setattr(glat.data, "load", lambda *a, **k: sets.append(opened(*a, **k)) or sets[0])
    monkeypatch.setattr(dry_run, "lines", lambda *arguments: [])  # which measure steps
    flags = FLAGS if data.suffix != ".h5" else FLAGS[:-2]
    train(parse_train_config(["--data", str(data), *flags, *case.flags, "--iterations", "1", "--dry-run"]))
    return sets[0], capsys.readouterr().out


def tagged(tagger, path):
    """(seconds, remarks, error) of one recording."""
    start = lambda i: tagger.recording(path.name, keep=True)  # noqa: E731
    (outcome,) = tagger.hear([FileSource(path)], start)
    return outcome.samples / tagger.sample_rate_hz, outcome.remarks, outcome.error


@pytest.mark.parametrize("name", CASES)
def test_every_command_says_the_same(name, tmp_path, monkeypatch, capsys, train, tagger):
    case = CASES[name]
    data = case.make(tmp_path / "set")
    is_pack = data.suffix == ".h5"
    # In this process: workers take seconds to start.
    monkeypatch.setattr(write, "write_shards", lambda tasks, *_: [write_shard(task) for task in tasks])
    if case.error:
        commands = [
            lambda: checked(data, case, tmp_path, capsys),
            lambda: trained_on(train, data, case, monkeypatch, capsys),
        ]
        for command in commands if is_pack else [*commands, lambda: packed(data, case, tmp_path, capsys)]:
            with pytest.raises(UserError, match=case.error) as caught:
                command()
            assert "\n" not in str(caught.value)
        return
    status, said, report = checked(data, case, tmp_path, capsys)
    sounds = [sound for side in report["recordings"].values() for sound in side]
    good = {sound["name"]: sound for sound in sounds if sound["reason"] is None}
    assert len(good) == case.clips
    assert status == (1 if case.problem or case.reason else 0), said
    assert tuple(report["classes"]) == case.classes
    if case.problem:
        assert re.search(rf"PROBLEM: .*{re.escape(case.problem)}", said), said
    assert case.said in said
    if not is_pack:
        seconds, remarks, skipped = packed(data, case, tmp_path, capsys)
        assert len(seconds) == case.clips
    if case.clips:
        sets, printed = trained_on(train, data, case, monkeypatch, capsys)
        loaded = {
            n: s / RATE for side in (sets.train, sets.evaluation) for n, s in zip(side.names, side.lengths, strict=True)
        }
        assert len(loaded) == case.clips
        assert sets.train.classes == case.classes
        assert case.said in printed
    if case.file is None:
        return
    length, odd, error = tagged(tagger, data / case.file)
    if case.seconds is None:
        (reason,) = [sound["reason"] for sound in sounds if sound["reason"]]
        assert case.reason in reason
        assert case.reason in skipped[case.file]
        assert case.reason in str(error)
        assert case.file in {skip.file for skip in sets.skipped if case.reason in skip.reason}
        assert case.reason in printed
        return
    for found in (good[case.file]["seconds"], seconds[case.file], loaded[case.file], length):
        assert found == pytest.approx(case.seconds, abs=0.02)
    for found in (
        "; ".join(good[case.file]["remarks"]),
        remarks[case.file],
        "; ".join(odd),
        printed if case.remark else "",
    ):
        assert (case.remark in found) if case.remark else not found
