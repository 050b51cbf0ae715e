"""Tables of what sounds when, as the world hands them over."""

import numpy as np
import pytest
import soundfile

from glat.data.recordings.audioset import with_display_names
from glat.data.recordings.manifest import read_manifest
from glat.data.recordings.recording import Sounding
from glat.data.recordings.table_format import TableFormat
from glat.errors import UserError

RATE = 8_000


@pytest.fixture
def folder(tmp_path):
    """a.wav and sub/b.flac, one second each."""
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "sub/b.flac"):
        soundfile.write(tmp_path / name, np.full(RATE, 0.1), RATE)
    return tmp_path


def read(folder, name, text, encoding="utf-8", **options):
    (folder / name).write_bytes(text.encode(encoding))
    return read_manifest(folder / name, **options)


def soundings(manifest):
    return {
        recording.name: [(s.label, round(s.onset_seconds, 6), round(s.offset_seconds, 6)) for s in recording.soundings]
        for recording in manifest.recordings
    }


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("t.csv", "file,onset,offset,label\na.wav,0.1,0.5,dog\na.wav,0.25,1,cat;bird\n", "utf-8"),
        ("t.csv", "file,onset,offset,label\na.wav,0.1,0.5,dog\na.wav,0.25,1,cat;bird\n", "utf-8-sig"),
        ("dcase.tsv", "filename\tonset\toffset\tevent_label\na.wav\t0.1\t0.5\tdog\na.wav\t.25\t1\tcat;bird\n", "utf-8"),
        ("excel.txt", "file\tonset\toffset\tlabel\r\na.wav\t0,1\t0,5\tdog\r\na.wav\t0,25\t1\tcat;bird", "utf-16"),
        ("ms.csv", "Path,Start (ms),End (ms),Class\n.\\a.wav,100,500,dog\nC:\\x\\a.wav,250,1000,cat;bird\n", "utf-8"),
        ("lasting.csv", "file,label,start_time,duration\na.wav,dog,0:00.1,0.4\na,cat;bird,00:00:00.25,.75\n", "utf-8"),
    ],
)  # fmt: skip
def test_tables_with_times_are_read_whatever_their_words(folder, name, text, encoding):
    found = read(folder, name, text, encoding)
    assert soundings(found) == {"a.wav": [("dog", 0.1, 0.5), ("bird", 0.25, 1.0), ("cat", 0.25, 1.0)]}
    assert found.classes == ("bird", "cat", "dog")
    assert found.recordings[0].path == folder / "a.wav"
    assert not found.skipped


def test_semicolons_separate_where_commas_are_decimal(folder):
    found = read(folder, "t.csv", "file;onset;offset;label\na.wav;0,1;0,5;dog\n")
    assert soundings(found) == {"a.wav": [("dog", 0.1, 0.5)]}


def test_rows_without_times_and_label_are_recordings_without_events(folder):
    found = read(folder, "t.tsv", "filename\tonset\toffset\tevent_label\na.wav\t0\t1\tdog\nb.flac\tnan\t\t\n")
    assert soundings(found) == {"a.wav": [("dog", 0, 1)], "sub/b.flac": []}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("a.wav,0.1,,dog", "line 3 has no offset"),
        ("a.wav,,0.1,dog", "line 3 has no onset"),
        ("a.wav,,,dog", "line 3 has no times"),
        ("a.wav,one,2,dog", "line 3: 'one' is no time"),
        ("a.wav,1,2 s,dog", "line 3: '2 s' is no time"),
        (",1,2,dog", "line 3 names no file"),
        ("a.wav,1,2,dog,more", "line 3 has 5 cells, the header 4"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(folder, row, wanted):
    with pytest.raises(UserError, match=wanted) as caught:
        read(folder, "t.csv", f"file,onset,offset,label\na.wav,0,1,dog\n{row}\n")
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_odd_about_an_event_is_said_with_its_line(folder):
    found = read(
        folder, "t.csv", "file,onset,offset,label\na.wav,0,1,dog\na.wav,0.9,0.1,cat\na.wav,0,1,\na.wav,0,1,dog\n"
    )
    assert [(s.file, s.reason.split(":")[0]) for s in found.skipped] == [
        ("t.csv line 3", "ends before it begins (0.9 to 0.1)"),
        ("t.csv line 4", "has times and no label"),
        ("t.csv line 5", "repeats line 2"),
    ]
    assert soundings(found) == {"a.wav": [("dog", 0, 1)]}


def test_columns_that_are_missing_are_named(folder):
    for header, wanted in [
        ("wave,onset,offset,label", "no column of files among wave, onset, offset, label; give --file-column"),
        ("file,onset,offset,what", "no column of labels among file, onset, offset, what; give --label-column"),
        ("file,onset,onset,offset,label", "2 columns are called onset"),
        ("file,start_samples,end_samples,label", "start_samples and end_samples are no times"),
    ]:
        with pytest.raises(UserError, match=wanted):
            read(folder, "t.csv", header + "\n")
    found = read(folder, "t.csv", "wave,on,start,end,what\na.wav,0,0,1,dog\n", table=TableFormat("wave", "what"))
    assert soundings(found) == {"a.wav": [("dog", 0, 1)]}


def test_strong_labels_of_audioset_find_their_segments_and_names(folder):
    audio = folder / "audio"
    audio.mkdir()
    names = {"b0RFKhbpFJA_30000": "b0RFKhbpFJA_30000.wav", "-0xzrMun0Rs_30000": "Y-0xzrMun0Rs.wav"}
    names["s_aAAAAAAAA_1500"] = "Ys_aAAAAAAAA_1.500_11.500.wav"
    for file in names.values():
        soundfile.write(audio / file, np.full(RATE, 0.1), RATE)
    rows = "".join(f"{segment}\t0.25\t1.5\t/m/0{i}\n" for i, segment in enumerate(names))
    found = read(folder, "s.tsv", "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n" + rows, audio=audio)
    assert [recording.path.name for recording in found.recordings] == list(names.values())
    (folder / "mid_to_display_name.tsv").write_text("/m/00\tSpeech\n/m/01\tDog\n")
    named = with_display_names(found, folder / "mid_to_display_name.tsv")
    assert named.classes == ("/m/02", "Dog", "Speech")
    assert [recording.soundings for recording in named.recordings][1] == (Sounding("Dog", 0.25, 1.5),)


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def test_a_selection_table_has_a_selection_once_whatever_its_views(folder):
    rows = "".join(f"1\t{view}\t1\t0.1\t0.5\t0\t9\twren\n" for view in ("Waveform 1", "Spectrogram 1"))
    found = read(folder, "a.Table.1.selections.txt", f"{RAVEN}\tSpecies\n{rows}")
    assert soundings(found) == {"a.wav": [("wren", 0.1, 0.5)]}
    assert not found.skipped


def test_a_table_without_selections_is_a_recording_without_events(folder):
    (folder / "a.Table.1.selections.txt").write_text(f"{RAVEN}\tSpecies\n1\tView\t1\t0\t0.5\t1\t2\tdog\n")
    (folder / "sub" / "b.Table.1.selections.txt").write_text(f"{RAVEN}\tSpecies\n")
    found = read_manifest(folder)
    assert soundings(found) == {"a.wav": [("dog", 0, 0.5)], "sub/b.flac": []}
    assert not found.skipped


def test_selections_in_several_files_need_the_offset_in_each(folder):
    rows = [
        "1\tSpectrogram 1\t1\t0.1\t0.5\t0\t9\tD:\\card\\a.wav\ta.wav\t{}\twren\n",
        "2\tSpectrogram 1\t1\t1.2\t1.5\t0\t9\tD:\\card\\b.flac\tb.flac\t{}\trook\n",
    ]
    header = f"{RAVEN}\tBegin Path\tBegin File\tFile Offset (s)\tAnnotation\n"
    found = read(folder, "all.txt", header + rows[0].format(0.1) + rows[1].format(0.2))
    assert soundings(found) == {"a.wav": [("wren", 0.1, 0.5)], "sub/b.flac": [("rook", 0.2, 0.5)]}
    with pytest.raises(UserError, match="line 3 is of a second file.*File Offset"):
        read(folder, "all.txt", header + rows[0].format("") + rows[1].format(""))


def test_a_folder_of_label_tracks_is_read_with_spectral_lines(folder):
    (folder / "a.txt").write_text("0,1\t0,5\tdog\n\\\t100,0\t2000,0\n0.7\t0.7\tclick\n", encoding="utf-8-sig")
    (folder / "sub/b.labels.txt").write_text("0.000000\t1.000000\tcat\n")
    soundfile.write(folder / "sub/c.wav", np.full(RATE, 0.1), RATE)
    soundfile.write(folder / "sub/d.wav", np.full(RATE, 0.1), RATE)
    (folder / "sub/d.txt").touch()
    found = read_manifest(folder)
    assert soundings(found) == {
        "a.wav": [("dog", 0.1, 0.5), ("click", 0.7, 0.7)],
        "sub/b.flac": [("cat", 0, 1)],
        "sub/d.wav": [],
    }
    assert [(s.file, s.reason.split(";")[0]) for s in found.skipped] == [
        ("sub/c.wav", "nothing beside it says what sounds in it")
    ]
    everything = read_manifest(folder, negatives=folder)
    assert soundings(everything)["sub/c.wav"] == []


def test_texts_beside_sounds_that_are_no_tracks_change_nothing(folder):
    (folder / "sub/b.txt").write_text("a dog barks in the distance\n")
    assert [(r.name, r.soundings) for r in read_manifest(folder).recordings] == [("sub/b.flac", None)]


def test_negatives_are_recordings_of_no_class_beside_weak_labels_too(folder):
    (folder / "list.txt").write_text("# nothing here\na.wav\n")
    found = read(folder, "t.csv", "file,label\nsub/b.flac,dog\n", negatives=folder / "list.txt")
    assert [(r.name, r.labels, r.soundings) for r in found.recordings] == [
        ("sub/b.flac", ("dog",), None),
        ("a.wav", (), None),
    ]
    with pytest.raises(UserError, match="holds no recording that --data does not list"):
        read(folder, "t.csv", "file,label\nsub/b.flac,dog\na.wav,cat\n", negatives=folder)


def test_an_error_names_the_flag_that_is_wrong(folder):
    table = "file,label\nsub/b.flac,dog\n"
    for content, wanted in [
        ("é\n".encode("latin-1"), "--negatives .*n.csv: is no UTF-8 text"),
        (b"wave\nx.wav\n", "--negatives .*n.csv: no column file; seen: wave; call"),
    ]:
        (folder / "n.csv").write_bytes(content)
        with pytest.raises(UserError, match=wanted):
            read(folder, "t.csv", table, negatives=folder / "n.csv")
    for text in (table, "file,onset,offset,label\nb.flac,0,1,dog\n"):
        with pytest.raises(UserError, match="^--audio .*nowhere: no such folder; give"):
            read(folder, "t.csv", text, audio=folder / "nowhere")
