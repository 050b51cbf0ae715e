"""`glat demo` in a headless browser: what a user sees, hears and downloads."""

import base64
import csv
import io
import re
import wave
from contextlib import ExitStack, contextmanager
from pathlib import Path

import demo
import numpy as np
import pytest
import soundfile
import tagging
from sounds import encoded

from glat.data.recordings.audio import hear
from glat.tagging.formats import text_format

KEEP_BLOBS = """
const make = URL.createObjectURL.bind(URL);
window.blobs = [];
URL.createObjectURL = (blob) => (window.blobs.push(blob), make(blob));
"""
LAST_BLOB = """async () => {
    const reader = new FileReader();
    const read = new Promise((done) => (reader.onload = done));
    reader.readAsDataURL(window.blobs.at(-1));
    await read;
    return reader.result.split(",")[1];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def weights(folder):
    return tagging.write_weights(folder)


@pytest.fixture(scope="module")
def tagger(weights):
    return tagging.load(weights)


@pytest.fixture(scope="module")
def browser(folder):
    """A browser whose microphone plays a file."""
    soundfile.write(folder / "spoken.wav", tagging.sound(6.0, 2, 48_000), 48_000, subtype="PCM_16")
    with demo.chromium(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'spoken.wav'}",
    ) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tagger):
    with demo.serving(tagger) as server:
        yield server


@pytest.fixture
def page(browser, server):
    with opened(browser, server) as page:
        yield page


@contextmanager
def opened(browser, server, unlike=None, **options):
    """A page that is opened; at its end, it must have failed in nothing (but what is `unlike`), nor asked elsewhere."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    page, wrong, asked = context.new_page(), [], []
    page.set_default_timeout(30_000)
    page.add_init_script(KEEP_BLOBS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(server.url)
        page.wait_for_selector("#model b")
        yield page
    finally:
        context.close()
    assert not [line for line in wrong if unlike is None or unlike not in line]
    assert not [url for url in asked if not url.startswith((server.url, f"blob:{server.url}"))]


def give(page, name, data):
    """Choose a file, and wait for the answer."""
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": data})
    page.wait_for_function(
        "name => document.querySelector('#work').hidden && (!document.querySelector('#error').hidden || "
        "document.querySelector('#given-name').textContent === name)",
        arg=name,
    )


def tags_of(tagger, sound):
    """What the tagger itself says of a file's bytes."""
    return tagger.tag(hear(Path("a.wav"), 32_000, stream=io.BytesIO(sound)).samples, 32_000)


def events_shown(page):
    """[class, from, to, frames, global, local, fused] of each row."""
    rows = page.locator("#rows tr").all()
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()[1:]] for row in rows]


def as_shown(event):
    scores = (event.probability, event.global_, event.local_, event.fused)
    return [
        event.label,
        *(clock(s) for s in (event.onset_seconds, event.offset_seconds)),
        *(f"{x:.3f}" for x in scores),
    ]


def clock(seconds):
    return f"{int(seconds // 60)}:{seconds % 60:05.2f}"


def close(shown, wanted):
    """Check that rows are the same, but for the last digit, which may be rounded either way."""
    assert [row[0] for row in shown] == [row[0] for row in wanted]
    for one, other in zip(shown, wanted, strict=True):
        for a, b in zip(one[1:], other[1:], strict=True):
            tolerance = 0.0101 if ":" in b else 0.0015
            assert float(a.replace(":", "")) == pytest.approx(float(b.replace(":", "")), abs=tolerance)


def test_a_sound_is_seen_heard_and_downloaded(page, tagger):
    sound = encoded(tagging.sound(13.0, 1), 32_000)
    tags = tags_of(tagger, sound)
    give(page, "street.wav", sound)

    shown = page.locator("#tag-list li").all()
    assert [row.locator("label").inner_text() for row in shown] == [tag.label for tag in tags.tags]
    for row, tag in zip(shown, tags.tags, strict=True):
        found = [row.locator(name).inner_text() for name in (".value", "span.global", "span.local")]
        scores = (tag.probability, tag.global_, tag.local_)
        assert [float(text) for text in found] == pytest.approx(scores, abs=0.002)
    assert page.locator("#given-facts").inner_text() == "0:13.00"
    close(events_shown(page), [as_shown(e) for e in tags.events(0.5)])

    # The crop that decided: the samples that the model heard.
    best = tags.tags[0].decided_by
    page.locator("#tag-list .play").first.click()
    page.wait_for_selector("#tag-list .play.playing")
    with wave.open(io.BytesIO(base64.b64decode(page.evaluate(LAST_BLOB)))) as crop:
        assert (crop.getframerate(), crop.getnchannels(), crop.getsampwidth()) == (32_000, 1, 2)
        heard = np.frombuffer(crop.readframes(1 << 20), np.int16)
    first, last = round(best.start_seconds * 32_000), round(best.end_seconds * 32_000)
    given = np.round(tagging.sound(13.0, 1)[first:last] * 32_767)
    assert len(heard) == last - first == 3 * 32_000
    assert np.abs(heard - given).max() <= 2
    page.wait_for_function("() => document.querySelectorAll('#tag-list .playing').length === 0")  # to its end

    # A higher threshold, by the keyboard.
    page.locator("#threshold").focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-said").inner_text() == "0.65"
    higher = tags.events(0.65)
    assert 0 < len(higher) != len(tags.events(0.5))
    close(events_shown(page), [as_shown(e) for e in higher])
    assert page.locator("#count").inner_text() == str(len(higher))
    page.fill("#gap", "1.0")
    page.fill("#least", "0.5")
    ruled = tags.events(0.65, min_seconds=0.5, merge_gap_seconds=1.0)
    close(events_shown(page), [as_shown(e) for e in ruled])

    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "street.wav.csv"
    rows = list(csv.DictReader(download.value.path().open(newline="")))
    assert [row["class"] for row in rows] == [e.label for e in ruled]
    assert {row["file"] for row in rows} == {"street.wav"}
    for row, event in zip(rows, ruled, strict=True):
        assert float(row["onset_seconds"]) == pytest.approx(event.onset_seconds, abs=1e-6)
        assert float(row["probability"]) == pytest.approx(event.probability, abs=1e-3)


RULES = [
    (t, least, gap) for t in (0.05, 0.3, 0.5, 0.61, 0.9) for least, gap in ((0, 0), (0.4, 0), (0, 0.7), (1.3, 0.5))
]


def test_the_page_finds_the_events_that_tags_find(page, tagger):
    """To the last bit, for any threshold and rule."""
    sound = encoded(tagging.sound(17.0, 2, 8_000), 8_000)
    found = page.evaluate(
        """async ([base64, rules]) => {
            const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
            const { hear } = await import("/answer.js");
            const { findEvents } = await import("/events.js");
            const answer = await hear(new Blob([bytes]), "a.wav", undefined, () => {});
            return rules.map(([threshold, leastSeconds, gapSeconds]) =>
                findEvents(answer, { thresholds: Array(4).fill(threshold), leastSeconds, gapSeconds }, 4));
        }""",
        [base64.b64encode(sound).decode(), RULES],
    )
    tags = tags_of(tagger, sound)
    for (threshold, least, gap), events in zip(RULES, found, strict=True):
        wanted = tags.events(threshold, min_seconds=least, merge_gap_seconds=gap)
        assert [tagger.classes[e.pop("k")] for e in events] == [e.label for e in wanted]
        assert [list(e.values()) for e in events] == [
            [e.onset_seconds, e.offset_seconds, e.peak_seconds, e.probability, e.global_, e.local_, e.fused]
            for e in wanted
        ], (threshold, least, gap)
    assert len({len(events) for events in found}) > 2


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("list.txt", b"bread, milk\n" * 50, "list.txt: cannot be decoded"),
        ("<img src=x onerror=alert(1)>.wav", encoded(np.zeros(32_000)), "<img src=x onerror=alert(1)>.wav: is silent"),
        ("cut.wav", encoded(tagging.sound(2.0))[:60_000], "cut.wav: is cut off"),
        ("large.wav", bytes(3_060_000), "large.wav has 3.1 MB, and this page takes up to 3 MB"),
        ("nothing.wav", b"", "nothing.wav is empty"),
        (
            "long.wav",
            encoded(tagging.sound(25.0, 0, 8_000), 8_000),
            "long.wav is 25 s long, and this page takes up to 20 s",
        ),
    ],
    ids=["text", "silence", "cut", "large", "empty", "long"],
)
def test_what_cannot_be_heard_is_said_in_the_page(page, name, data, reason):
    give(page, name, data)
    assert page.locator("#error").inner_text().startswith(reason)
    assert not page.locator("#result").is_visible()


def test_names_are_text(browser, tagger, monkeypatch):
    """HTML in the name of a file or of a class is shown as it is written."""
    monkeypatch.setattr(tagger, "classes", ("<b>hum</b>", "<script>alert(1)</script>", 'x"><i>', "&amp;"))
    with demo.serving(tagger, source="runs/<u>run") as server, opened(browser, server) as page:
        give(page, "<s>a</s>.wav", encoded(tagging.sound(4.0)))
        assert page.locator("#model b").inner_text() == "<u>run"
        assert page.locator("#given-name").inner_text() == "<s>a</s>.wav"
        assert set(page.locator("#tag-list label").all_inner_texts()) == set(tagger.classes)
        assert page.locator("main script, main u, main s, #tags i:not(.meter i)").count() == 0


def test_a_recording_is_heard(page):
    page.click("#record")
    page.wait_for_function("() => parseFloat(document.querySelector('#recorded').textContent.slice(2)) > 1.2")
    page.click("#stop")
    page.wait_for_selector("#result:not([hidden])")
    assert re.fullmatch(r"recording \d\d\.\d\d\.\d\d\.wav", page.locator("#given-name").inner_text())
    page.click("#play")
    page.wait_for_selector("#play.playing")
    with wave.open(io.BytesIO(base64.b64decode(page.evaluate(LAST_BLOB)))) as recorded:
        samples = np.frombuffer(recorded.readframes(1 << 20), np.int16)
    assert 1.2 < len(samples) / 32_000 < 15
    assert np.abs(samples).max() > 300  # the file behind the microphone, and not silence
    assert page.locator("#record").is_enabled()


def test_a_discarded_recording_is_gone(page):
    page.click("#record")
    page.wait_for_selector("#recording:not([hidden])")
    page.click("#discard")
    assert not page.locator("#recording").is_visible()
    assert not page.locator("#result").is_visible()


def test_the_picture_zooms_and_scrolls_by_keyboard_and_mouse(page):
    give(page, "a.wav", encoded(tagging.sound(12.0)))
    axis = page.locator("#axis span")
    whole = axis.all_inner_texts()
    page.locator("#view").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_selector("#overview:not([hidden])")
    near = axis.all_inner_texts()
    assert near != whole
    page.keyboard.press("Home")
    starts_with = "first => document.querySelector('#axis span').textContent.startsWith(first)"
    page.wait_for_function(starts_with, arg="0:00.0")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(starts_with, arg="0:00.5")
    page.click("#fit")
    page.wait_for_selector("#overview", state="hidden")
    assert axis.all_inner_texts() == whole
    box = page.locator("#spectrogram").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] - 8)
    if page.locator("#play.playing").count() == 0:  # a crop may lie there
        assert page.locator("#time").inner_text().startswith("0:0")
    assert page.locator("#crops button").count() > 0
    decided = page.locator("#crops button").count()
    page.check("#all-crops")
    assert page.locator("#crops button").count() >= decided


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_and_every_control_has_a_name(browser, server, width):
    with opened(browser, server, viewport={"width": width, "height": 844}) as page:
        give(page, "a_very_long_name_" * 11 + ".wav", encoded(tagging.sound(12.0)))
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, [tabindex]")]
                .filter((e) => e.checkVisibility())
                .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length
                    || e.textContent.trim())).map((e) => e.outerHTML)"""
        )
        assert nameless == []


def test_two_tabs_are_heard_one_after_the_other(browser, server):
    sound = encoded(tagging.sound(5.0))
    with opened(browser, server) as one, opened(browser, server) as other:
        with server.turns.turn(print):
            for page in (one, other):
                page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": sound})
            for page in (one, other):
                page.wait_for_function("() => document.querySelector('#said').textContent.startsWith('Waiting for')")
            other.click("#cancel")
            other.wait_for_selector("#work", state="hidden")
        one.wait_for_selector("#result:not([hidden])")
        assert not other.locator("#result").is_visible()
        assert not other.locator("#error").is_visible()


def test_a_page_whose_server_has_ended_says_so(browser, tagger):
    with ExitStack() as serving:
        server = serving.enter_context(demo.serving(tagger))
        with opened(browser, server, unlike="ERR_CONNECTION_REFUSED") as page:
            give(page, "a.wav", encoded(tagging.sound(4.0)))
            serving.close()
            page.click("#download")
            page.wait_for_selector("#error:not([hidden])")
            assert page.locator("#error").inner_text().startswith("glat demo does not answer: it has ended")
            page.locator("#threshold").fill("0.2")  # what was heard still can be looked at
            assert int(page.locator("#count").inner_text()) > 0


def test_the_thresholds_of_a_run_and_a_model_without_crops(browser, weights):
    tagger = tagging.load(weights, streams="global")
    tagger.thresholds = np.array([0.9, 0.2, 0.3, 0.1], np.float32)
    with demo.serving(tagger) as server, opened(browser, server) as page:
        sound = encoded(tagging.sound(6.0))
        give(page, "a.wav", sound)
        tags = tags_of(tagger, sound)
        assert page.locator("#threshold-said").inner_text() == "own"
        assert [row[0] for row in events_shown(page)] == [e.label for e in tags.events()]
        assert page.locator("#crops button, #tag-list .play").count() == 0
        assert events_shown(page)[0][5] == "–"
        with page.expect_download() as download:
            page.select_option("#format", "raven")
            page.click("#download")
        wanted = text_format("raven")
        assert download.value.path().read_text().splitlines()[0] + "\n" == wanted.header
        page.locator("#threshold").fill("0.5")
        assert not page.locator("#own").is_checked()
        assert [row[0] for row in events_shown(page)] == [e.label for e in tags.events(0.5)]
