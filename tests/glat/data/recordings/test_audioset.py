"""AudioSet's tables: classes in their order, every way a file is named, and what is said of what does not fit."""

import pytest

from glat.data.recordings.audioset import read_audioset, read_class_labels
from glat.errors import UserError

LABELS = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/t/dd00135,Whoop\n'
HEADER = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=6\n# YTID, start_seconds, end_seconds, labels\n"
IDS = ("--PJHxphWEs", "-_a_30_40_b", "Yabcdefghij", "0000000000_", "_1_2_3_4_5_", "zzzzzzzzzzz")


@pytest.fixture
def tables(tmp_path):
    """Label and segment tables of six clips, and an empty folder for their audio."""
    (tmp_path / "labels.csv").write_text(LABELS)
    lines = [f'{clip}, {30 * i}.000, {30 * i + 10}.000, "/m/05zppz,/m/09x0r"\n' for i, clip in enumerate(IDS)]
    lines[1] = lines[1].replace("/m/05zppz,/m/09x0r", "/t/dd00135")
    (tmp_path / "segments.csv").write_text(HEADER + "".join(lines))
    (tmp_path / "audio").mkdir()
    return tmp_path / "segments.csv", tmp_path / "labels.csv", tmp_path / "audio"


def touch(audio, *names):
    for name in names:
        (audio / name).parent.mkdir(exist_ok=True)
        (audio / name).write_bytes(b"")


def test_the_real_class_table_gives_527_classes_in_its_order(audioset):
    labels = read_class_labels(audioset / "class_labels_indices.csv")
    assert len(labels.names) == 527
    assert labels.names[:2] == ("Speech", "Male speech, man speaking")
    assert labels.names[526] == "Field recording"
    assert labels.index["/m/07hvw1"] == 526


def test_every_way_of_naming_a_file_is_understood(tables):
    segments, labels, audio = tables
    names = (
        "Y--PJHxphWEs.wav",
        "-_a_30_40_b_30_40.flac",
        "deep/Yabcdefghij_60000_70000.ogg",
        "Y0000000000__90.000_100.000.wav",
        "_1_2_3_4_5__120.mp3",
        "zzzzzzzzzzz.WAV",
    )
    touch(audio, *names, "notes.txt", "cover.png")
    manifest = read_audioset(segments, labels, audio)
    assert [recording.path for recording in manifest.recordings] == [audio / name for name in names]
    assert [recording.name for recording in manifest.recordings] == [f"Y{clip}.wav" for clip in IDS]
    assert manifest.classes == ("Speech", "Male speech, man speaking", "Whoop")
    assert manifest.recordings[0].labels == ("Male speech, man speaking", "Speech")
    assert manifest.recordings[1].labels == ("Whoop",)
    assert manifest.skipped == ()


def test_missing_foreign_and_second_files_are_reported(tables):
    segments, labels, audio = tables
    touch(audio, "Y--PJHxphWEs.wav", "--PJHxphWEs_0_10.flac", "Yabcdefghij_61_71.wav")
    with segments.open("a") as stream:
        stream.write('--PJHxphWEs, 0.000, 10.000, "/m/09x0r"\n')
    manifest = read_audioset(segments, labels, audio)
    assert [recording.path.name for recording in manifest.recordings] == ["--PJHxphWEs_0_10.flac"]
    reasons = {skip.file: skip.reason for skip in manifest.skipped}
    assert len(manifest.skipped) == 7
    assert reasons[str(audio / "Y--PJHxphWEs.wav")].startswith("a second file of Y--PJHxphWEs.wav")
    assert reasons["Y--PJHxphWEs.wav"] == "listed twice in segments.csv"
    assert reasons["Yzzzzzzzzzzz.wav"] == f"no file of it in {audio}"
    assert reasons["YYabcdefghij.wav"].endswith("Yabcdefghij_61_71.wav is of other times")


def test_black_lists_of_several_kinds_are_left_out(tables, tmp_path):
    segments, labels, audio = tables
    touch(audio, *(f"Y{clip}.wav" for clip in IDS))
    (tmp_path / "dcase.csv").write_bytes(b"--PJHxphWEs_0.000_10.000.wav\t0.000\t10.000\tWhoop\r\nother000000_0_1.wav\n")
    (tmp_path / "panns.csv").write_text("filename\nzzzzzzzzzzz\nYYabcdefghij.wav,x\n\n")
    manifest = read_audioset(segments, labels, audio, (tmp_path / "dcase.csv", tmp_path / "panns.csv"))
    assert [recording.name[1:12] for recording in manifest.recordings] == ["-_a_30_40_b", "0000000000_", "_1_2_3_4_5_"]
    assert {(skip.file, skip.reason) for skip in manifest.skipped} == {
        (f"Y{clip}.wav", "on the black list") for clip in ("--PJHxphWEs", "zzzzzzzzzzz", "Yabcdefghij")
    }


def test_the_real_black_lists_are_read_whole(audioset, tables):
    segments, labels, audio = tables
    lists = sorted(audioset.glob("groundtruth_weak_label_*.csv"))
    listed = [line.split("\t")[0][:11] for table in lists for line in table.read_text().splitlines()]
    clips = sorted(set(listed))
    segments.write_text(HEADER + "".join(f'{clip}, 0.000, 10.000, "/m/09x0r"\n' for clip in [*clips, IDS[0]]))
    touch(audio, *(f"Y{clip}.wav" for clip in [*clips, IDS[0]]))
    manifest = read_audioset(segments, labels, audio, lists)
    assert [recording.name for recording in manifest.recordings] == [f"Y{IDS[0]}.wav"]
    assert len(manifest.skipped) == len(clips)


def test_parts_of_panns_are_segment_tables(tables):
    segments, labels, audio = tables
    segments.write_text(segments.read_text().replace(HEADER, "empty\nempty\nempty\n"))
    touch(audio, *(f"Y{clip}.wav" for clip in IDS))
    assert len(read_audioset(segments, labels, audio).recordings) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, _l, _a: s.unlink(), "--audioset .*segments.csv: cannot be opened"),
        (lambda s, _l, _a: s.write_text(HEADER + "x, 1, 2, /m/09x0r\n"), "line 4 is no segment"),
        (lambda s, _l, _a: s.write_text(HEADER + 'zzzzzzzzzzz, 1, 2, "/m/q"\n'), "line 4 has the label '/m/q', which"),
        (lambda _s, li, _a: li.write_text("a,b\n1,2\n"), "columns index, mid, display_name are wanted, seen: a, b"),
        (lambda _s, li, _a: li.write_text(LABELS.replace("2,", "7,")), "line 4 repeats a class or is out of order"),
        (lambda _s, li, _a: li.write_text("index,mid,display_name\n"), "no class"),
        (lambda _s, _l, a: a.rmdir(), "--audio .*: no such folder"),
        (lambda _s, _l, a: touch(a, "x.wav"), "no file of any of 6 segments"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, change, message):
    touch(tables[2], *(() if "--audio" in message or "no file" in message else ("Yzzzzzzzzzzz.wav",)))
    change(*tables)
    with pytest.raises(UserError, match=message):
        read_audioset(*tables)


def test_a_black_list_without_clips_is_refused(tables, tmp_path):
    (tmp_path / "list.csv").write_text("filename\nhello\n")
    with pytest.raises(UserError, match="line 2 begins with no clip \\('hello'\\)"):
        read_audioset(*tables, (tmp_path / "list.csv",))
