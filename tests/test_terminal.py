"""What a user sees in a terminal of 80 and of 50 columns, and what a log file holds."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
import tagging
from rich.text import Text

from glat.commands.tag_output import print_tables
from glat.data import Skipped
from glat.runs.folder import skipped_lines
from glat.tagging.tags import Crop, Tag, Tags
from glat.tagging.windows import Grid
from glat.terminal import Console
from glat.training.progress import Progress


def in_terminal(columns, *command, cwd):
    """What a process writes to a pseudo-terminal of so many columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, cwd=cwd, env=environment | {"TERM": "xterm", "OMP_NUM_THREADS": "1"}
    )
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


def lines_of(written):
    """What stands on each line, without colours and movements of the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    return [part for line in plain.split("\n") for part in line.split("\r") if part.strip()]


CODE = """
import time
from glat.terminal import Console
from glat.training.progress import Progress

console = Console(soft_wrap=True)
console.print("device      CPU, 2 threads, float32, a line of settings (--amp) that is longer than a terminal is wide")
console.print("run folder  /a/path/without/any/blank/that/is/longer/than/the/terminal/is/wide/and/stays/in/one/piece/a")
progress = Progress(console, 40)
with progress.after(0):
    for step in range(1, 41):
        time.sleep(0.03)
        progress.step(step)
        if step % 10 == 0:
            progress.report(step, 8, 2 << 30, loss=0.5, loss_global=0.25, loss_local=0.25)
"""


@pytest.mark.parametrize("columns", [80, 50])
def test_bar_step_and_time_left_stand_first_and_fit(columns, tmp_path):
    lines = lines_of(in_terminal(columns, sys.executable, "-c", CODE, cwd=tmp_path))
    bars = [line for line in lines if "step" in line]
    assert all(re.search(r"^[━╸╺ ]+ step +\d+/40 .*left *$", line) for line in bars), bars
    assert len({re.search(r"\d+/40", line)[0] for line in bars}) > 5  # it moves between reports
    assert any(line.startswith("loss 0.5000") for line in lines)
    whole = [line for line in lines if "/without/any/blank/" not in line]
    assert max(len(line.rstrip()) for line in whole) <= columns
    joined = " ".join(line.strip() for line in lines)
    assert "a line of settings (--amp) that is longer than a terminal is wide" in joined  # no word is cut
    assert any("/a/path/without/any/blank/" in line and line.endswith("one/piece/a") for line in lines)


def test_a_log_file_holds_lines_and_no_control_characters(tmp_path):
    said = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said)
    lines = said.splitlines()
    assert lines[0].endswith("longer than a terminal is wide")  # a line is a line
    assert [line.split()[1] for line in lines if line.startswith("step")] == ["10/40", "20/40", "30/40", "40/40"]


def test_tag_fits_a_narrow_terminal(tmp_path):
    weights, (recording,) = tagging.write_weights(tmp_path), tagging.write_recordings(tmp_path, (3.0,))
    flags = ("--weights", weights[0].name, "--labels", weights[1].name)
    lines = lines_of(in_terminal(50, sys.executable, "-m", "glat", "tag", recording.name, *flags, cwd=tmp_path))
    assert max(Text(line.rstrip()).cell_len for line in lines) <= 50
    said = " ".join(lines)
    for word in ("fused", "decided by", "crop of", "1 recording,", "real time"):
        assert word in said
    assert "…" not in said


@pytest.mark.parametrize("columns", [80, 50])
def test_tag_s_tables_fit(columns, tmp_path):
    crop = Crop("a label", 123.25, 126.25, 0.75, 124.0)
    tags = tuple(Tag(label, 0.5, 0.25, 0.75, crop, 0.5) for label in ("a label", "Vehicle horn, car horn, honking"))
    grid = Grid.of(320_000, 62, 32_000, 0.25)
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None)
    print_tables(console, Tags("a.wav", 600.0, ("a",), tags, (crop,) * 30, 5, grid, np.zeros(1), None), 3)
    lines = out.getvalue().splitlines()
    assert max(Text(line).cell_len for line in lines) <= columns
    assert "…" not in out.getvalue()
    assert "the 10 highest of 30 crops; --json lists all" in out.getvalue()


def test_progress_counts_from_where_a_run_goes_on():
    out = io.StringIO()
    progress = Progress(Console(file=out), 40)
    with progress.after(30):
        values = progress.report(40, 8, 1 << 30, loss=0.5)
    assert out.getvalue().startswith("step 40/40  loss 0.5000")
    assert values["memory_mib"] == 1024


def test_recordings_that_were_left_out_are_counted_once():
    twice = (Skipped("a.wav", "is silent"), Skipped("a.wav", "line 4 repeats line 2"), Skipped("b.wav", "is cut off"))
    assert skipped_lines(twice)[0].startswith("2 recordings were left out")
    assert skipped_lines(twice[:2])[0].startswith("1 recording was left out")
