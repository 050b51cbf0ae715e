"""The server of `glat demo` through real sockets: what it answers, what it refuses, and that it keeps nothing."""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import demo
import numpy as np
import pytest
import soundfile
import tagging
from processes import finish, start
from sounds import encoded

from glat.demo.answer import window_of_frame
from glat.demo.server import SEATS, DemoServer
from glat.demo.table import FORMATS, table
from glat.demo.turns import Turns
from glat.errors import UserError
from glat.tagging.formats import text_format


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tagging.write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def tagger(weights):
    return tagging.load(weights)


@pytest.fixture(scope="module")
def server(tagger):
    with demo.serving(tagger) as server:
        yield server


def parts(head, body):
    """The arrays behind an answer's head."""
    found = {}
    for name, kind, size in head["parts"]:
        found[name] = np.frombuffer(body, kind, size)
        body = body[found[name].nbytes :]
    assert not body
    return found


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(4.0, 32_000, 1), (13.3, 44_100, 1), (3.0, 44_100, 8)])
def test_an_answer_is_what_the_tagger_says(server, tagger, tmp_path, seconds, rate, channels):
    wave = np.repeat(tagging.sound(seconds, 1, rate)[:, None], channels, axis=1)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, rate, subtype="PCM_16")
    messages, body = demo.heard(server, path.read_bytes())
    head, tags = messages[-1]["result"], tagger.tag(path)
    found = parts(head, body)

    assert messages[0] == {"heard": 0.0, "of": head["seconds"]}
    assert messages[-2] == {"heard": head["seconds"], "of": head["seconds"]}
    assert head["seconds"] == tags.seconds
    assert len(head["tags"]) == len(tags.tags) == len(tagger.classes)
    for one, tag in zip(head["tags"], tags.tags, strict=True):
        assert tagger.classes[one["class"]] == tag.label
        scores = [one["fused"], one["global"], one["local"], one["crop_probability"]]
        assert scores == pytest.approx([tag.probability, tag.global_, tag.local_, tag.crop_probability], abs=1e-6)
        crop = head["crops"][one["crop"]]
        assert (crop["start"], crop["end"]) == (tag.decided_by.start_seconds, tag.decided_by.end_seconds)
    assert len(head["crops"]) == len(tags.crops)
    frames = found["frames"].reshape(-1, len(tagger.classes))
    np.testing.assert_allclose(frames, tags.frames.probs, atol=1e-6)
    of_frame = found["windows"].reshape(-1, 3, len(tagger.classes))[found["window_of_frame"]]
    np.testing.assert_allclose(of_frame, tags.kept.streams, atol=1e-6)
    assert abs(len(found["samples"]) - seconds * 32_000) <= 1
    columns = found["spectrogram"].reshape(-1, head["bins"])
    assert len(columns) == len(found["samples"]) // 320 + 1
    assert columns.max() == 255


@pytest.mark.parametrize("seconds", [4.0, 10.0, 10.2, 33.0])
def test_the_window_of_a_frame_is_the_one_whose_scores_its_events_have(tagger, seconds):
    tags = tagger.tag(tagging.sound(seconds), 32_000)
    streams = np.stack([tags.windows.fused, tags.windows.global_, tags.windows.local_], axis=1)
    np.testing.assert_array_equal(streams[window_of_frame(tags)], tags.kept.streams)


def test_the_spectrogram_in_stretches_is_that_of_the_whole(monkeypatch):
    from glat.demo import answer

    wave = tagging.sound(3.0)
    whole = answer._spectrogram(wave, 32_000)
    monkeypatch.setattr(answer, "_BLOCK_COLUMNS", 40)
    pieces = answer._spectrogram(wave, 32_000)
    assert pieces.shape == whole.shape == (301, 64)
    assert np.abs(pieces.astype(int) - whole.astype(int)).max() <= 1  # a rounding


BAD = {
    "text": (b"a shopping list\n" * 99, "cannot be decoded"),
    "empty": (b"", "is empty"),
    "silence": (encoded(np.zeros(32_000)), "is silent (only zeros)"),
    "cut off": (encoded(tagging.sound(2.0))[:50_000], "is cut off"),
    "too long": (encoded(tagging.sound(21.0, 0, 8_000), 8_000), "is 21 s long, and this page takes up to 20 s"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_heard_is_one_sentence(server, kind):
    sound, reason = BAD[kind]
    messages, body = demo.heard(server, sound, "%3Cb%3E%0A%1B%5B2J.wav")
    error = messages[-1]["error"]
    assert error.startswith(r"<b>\n\x1b[2J.wav")
    assert reason in error
    assert len(error) < 300
    assert not body


def test_a_length_that_only_decoding_tells_is_bounded(server, monkeypatch):
    from glat.demo import answer

    monkeypatch.setattr(
        answer, "read_header", lambda path, stream: type("Header", (), {"frames": 9, "rate_hz": 9, "format": ""})
    )
    messages, _ = demo.heard(server, encoded(tagging.sound(40.0, 0, 8_000), 8_000))
    assert "is longer than 20 s, and this page takes up to 20 s" in messages[-1]["error"]


def test_m4a_without_a_decoder_says_what_to_install(server, monkeypatch):
    monkeypatch.setattr("glat.data.recordings.foreign.is_available", lambda: False)
    messages, _ = demo.heard(server, b"\0\0\0\x20ftypM4A " + bytes(99), "a.m4a")
    assert "pip install 'glat[av]'" in messages[-1]["error"]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(server):
    length = server.limits.most_bytes + 1
    status, _, body = demo.said(server, demo.request(server, "POST /hear?name=a", length=length), b"x" * 4_000)
    assert status == 413
    assert "takes up to 3 MB" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: evil.example",),
        ("Host: evil.example:8642", "Origin: http://evil.example:8642"),
        ("Host: 127.0.0.1", "Host: evil.example"),
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Sec-Fetch-Site: cross-site",),
    ],
)
def test_other_pages_and_names_are_refused(server, headers):
    for line in ("POST /hear?name=a", "POST /table", "GET /about"):
        status, found, body = demo.said(server, demo.request(server, line, headers, length=0))
        assert status == 403, line
        assert "error" in json.loads(body)
        assert "Access-Control-Allow-Origin" not in found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "[::1]:8642", "LOCALHOST"])
def test_names_of_this_machine_are_taken(server, host):
    assert demo.said(server, demo.request(server, "GET /about", (f"Host: {host}",)))[0] == 200


def test_a_link_from_elsewhere_may_be_followed(server):
    headers = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert demo.said(server, demo.request(server, "GET /", headers))[0] == 200


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/page/../../answer.py", "http://x/page.js", "/page"]
)
def test_there_is_nothing_but_the_page(server, path):
    status, _, body = demo.said(server, demo.request(server, f"GET {path}"))
    assert (status, list(json.loads(body))) == (404, ["error"])


def test_every_answer_forbids_what_the_page_does_not_need(server):
    for line in ("GET /", "GET /page.js", "GET /nothing", "POST /hear", "BREW /", "GET / /"):
        _, headers, _ = demo.said(server, demo.request(server, line))
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [(), ("Content-Length: 3", "Content-Length: 4"), ("Content-Length: -1",), ("Transfer-Encoding: chunked",)],
)
def test_a_body_without_one_length_is_refused(server, headers):
    assert demo.said(server, demo.request(server, "POST /hear?name=a", headers))[0] == 411


def test_sounds_wait_in_line_and_more_than_the_seats_are_refused(tagger):
    sound = encoded(tagging.sound(1.0))
    with demo.serving(tagger) as server:
        entered = threading.Event()
        before = []
        answers = [None] * SEATS
        with server.turns.turn(before.append):  # nobody is heard while this block lasts

            def ask(i):
                answers[i] = demo.heard(server, sound)[0]

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(SEATS)]
            for thread in threads:
                thread.start()
            while len(server.turns._line) < SEATS + 1:
                assert not entered.wait(0.01)
            status, _, body = demo.said(server, demo.request(server, "POST /hear?name=a", length=len(sound)), sound)
        for thread in threads:
            thread.join()
    assert (status, json.loads(body)["error"]) == (503, "4 sounds are being heard or wait; try again in a moment")
    assert sorted(messages[0]["waiting"] for messages in answers) == [1, 2, 3, 4]
    assert all("result" in messages[-1] for messages in answers)


def test_who_has_gone_is_not_heard(tagger):
    sound = encoded(tagging.sound(1.0))
    with demo.serving(tagger) as server, server.turns.turn(print):
        connection = socket.create_connection(server.server_address[:2])
        connection.sendall(demo.request(server, "POST /hear?name=a", length=len(sound)) + sound)
        while len(server.turns._line) < 2:
            time.sleep(0.01)
        connection.close()
        deadline = time.monotonic() + 20
        while len(server.turns._line) > 1:  # it has left the line, which has not moved
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_turns_are_taken_in_order():
    turns, order = Turns(3), []

    def take(i):
        with turns.turn(lambda before: None):
            order.append(i)

    with turns.turn(lambda before: None):
        threads = []
        for i in range(3):
            threads.append(threading.Thread(target=take, args=(i,)))
            threads[-1].start()
            while len(turns._line) < i + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
    assert not turns.busy


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_is_the_one_that_glat_tag_writes(server, tagger, form):
    tags = tagger.tag(tagging.sound(12.0), 32_000)
    events = tags.events(0.3)
    assert events
    number = {label: k for k, label in enumerate(tagger.classes)}
    rows = [
        [
            number[e.label],
            e.onset_seconds,
            e.offset_seconds,
            e.peak_seconds,
            e.probability,
            e.global_,
            e.local_,
            e.fused,
        ]
        for e in events
    ]
    asked = json.dumps({"format": form, "name": "", "events": rows}).encode()
    status, _, body = demo.said(server, demo.request(server, "POST /table", length=len(asked)), asked)
    assert status == 200
    wanted = text_format(form)
    assert body.decode() == wanted.header + wanted.rows(events, 0)


ROW = [0, 0.0, 1.0, 0.5, 0.5, 0.5, None, 0.5]


@pytest.mark.parametrize(
    "asked",
    [
        b"no JSON",
        b"[" * 100_000,
        b"\xff",
        json.dumps({"format": "parquet", "events": []}).encode(),
        json.dumps({"format": ["csv"], "events": []}).encode(),
        *(
            json.dumps({"format": "csv", "events": [row]}).encode()
            for row in ([], ROW[:7], [9, *ROW[1:]], [True, *ROW[1:]])
        ),
        json.dumps({"format": "csv", "events": [[0, None, *ROW[2:]]]}).encode(),
        json.dumps({"format": "csv", "events": [[0, 10**400, *ROW[2:]]]}).encode(),
        json.dumps({"format": "csv", "events": [[0, "=1+1", *ROW[2:]]]}).encode(),
        json.dumps({"format": "csv", "events": [[0, float("inf"), *ROW[2:]]]}).encode(),
    ],
    ids=lambda x: x[:60].decode(errors="replace"),
)
def test_what_is_no_table_is_refused(server, asked):
    assert demo.said(server, demo.request(server, "POST /table", length=len(asked)), asked)[0] == 400


def test_a_table_obeys_no_name():
    text = table({"format": "csv", "name": "=cmd\n\x1b[2J", "events": [ROW]}, ("a",), "frames")
    assert text.splitlines()[1].startswith(r"'=cmd\n\x1b[2J,a,0.000000")


def test_a_taken_port_and_no_address_are_one_line(server):
    port = server.server_address[1]
    with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is taken.*--port 0"):
        DemoServer("127.0.0.1", port, demo.LIMITS)
    for host in ("203.0.113.7", "a..b"):
        with pytest.raises(UserError, match=f"--host {host} is no address of this machine"):
            DemoServer(host, 0, demo.LIMITS)
    with pytest.raises(UserError, match=r"--port is 70000; give 1 to 65535"):
        DemoServer("127.0.0.1", 70_000, demo.LIMITS)


def test_the_network_reaches_it_by_its_own_names_only(tagger):
    with demo.serving(tagger, host="0.0.0.0") as server:
        assert not server.is_local()
        assert server.is_ours(socket.gethostname())
        assert server.is_ours("192.168.1.2:8642")
        assert not server.is_ours("evil.example")


def test_the_command_keeps_nothing_and_ends_at_ctrl_c(weights, tmp_path):
    """Nothing appears in the folders where programs keep things, and the exit status is 0."""
    home = tmp_path / "home"
    home.mkdir()
    places = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "MPLCONFIGDIR": str(tmp_path),
    }
    arguments = (weights[0], "--labels", weights[1], "--port", 0)
    process = start(*arguments, command=("-m", "glat", "demo"), **places)
    try:
        line = "Matplotlib"  # says on a slow machine that it makes its cache of fonts
        while line.startswith("Matplotlib"):
            line = process.stderr.readline()
        assert "Cnn10.pth is at http://127.0.0.1:" in line
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        server = type("Server", (), {"server_address": ("127.0.0.1", port)})
        messages, _ = demo.heard(server, encoded(tagging.sound(3.0)))
        assert "result" in messages[-1]
        assert "error" in demo.heard(server, b"text")[0][-1]
        if sys.platform == "linux":
            opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            assert not [path for path in opened if path.startswith(str(home))]
        assert list(home.rglob("*")) == []
        os.kill(process.pid, signal.SIGINT)
        status, out, err = finish(process, 60)
    finally:
        process.kill()
    assert (status, out, err) == (0, "", "ended; nothing of the sounds was kept\n")


def test_limits_are_checked(weights, monkeypatch, capsys):
    from trained import glat

    for flags, said in (
        (("--max-minutes", 61), "--max-minutes is 61; give up to 60"),
        (("--max-mb", 0), "--max-mb is 0; give up to 4000"),
    ):
        assert glat(monkeypatch, "demo", weights[0], *flags) == 2
        assert said in capsys.readouterr().err
    assert glat(monkeypatch, "demo", "no-such-run", "--port", 0) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
