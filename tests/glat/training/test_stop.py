"""A process that is asked to end: at once where nothing is unsaved, else saved first, and never after long."""

import signal
import subprocess
import sys
import time

import pytest

# Says what it does, for as long as the test wants; the main thread is deaf inside a long call into C.
PROGRAM = """
import hashlib, sys, time
from pathlib import Path
from glat.errors import Stopped
from glat.training import stop as module
from glat.training.stop import Output, Stop
module.MOST_SECONDS, module.AGAIN_SECONDS = 1.0, 0.2
with Stop() as stop:
    stop.folder = Path("my run")
    stop.leaving = lambda: print("left", file=sys.stderr, flush=True)
    output = Output(stop.output_closed)
    if sys.argv[1] != "loads":
        stop.unsaved()
    print("ready", flush=True)
    if sys.argv[1] in ("loads", "is deaf"):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    while not stop.signal:
        if sys.argv[1] == "says much":
            output.write("x" * 10_000)
            output.flush()
        time.sleep(0.005)
    if sys.argv[1] == "saves long":
        time.sleep(60)
    try:
        stop.saved(7)
    except Stopped as stopped:
        print(stopped.message, file=sys.stderr)
        sys.exit(stopped.code)
"""


def start(doing, before=None):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, doing], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=before
    )


@pytest.mark.parametrize(
    ("doing", "numbers", "status", "said"),
    [
        ("steps", ["SIGTERM"], 75, "stopped by SIGTERM and saved after step 7; go on with --run-dir 'my run' --resume"),
        ("steps", ["SIGINT"], 130, "stopped by SIGINT and saved after step 7"),
        ("loads", ["SIGHUP"], 75, "stopped by SIGHUP; nothing is lost: no step was made that is not saved"),
        ("is deaf", ["SIGXCPU"], 75, "stopped by SIGXCPU; not saved, which took longer than 1 s; go on with --run-dir"),
        ("saves long", ["SIGTERM", "SIGTERM"], 75, "stopped by SIGTERM; not saved, since it came a second time"),
        ("saves long", ["SIGUSR1", "SIGUSR1"], 75, "stopped by SIGUSR1; not saved, which took longer than 1 s"),
    ],
)
def test_every_signal_ends_it_and_says_how_to_go_on(doing, numbers, status, said):
    process = start(doing)
    assert process.stdout.readline() == b"ready\n"
    for number in numbers:
        process.send_signal(signal.Signals[number])
        time.sleep(0.5)
    _, complained = process.communicate(timeout=30)
    assert process.returncode == status, complained
    assert said in complained.decode()
    assert ("left" in complained.decode()) == ("and saved" not in said)


def test_an_output_that_nobody_reads_is_a_signal():
    process = start("says much")
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    assert process.wait(30) == 75
    assert b"stopped by its closed output and saved after step 7" in process.stderr.read()
    process.stderr.close()


def test_what_is_ignored_stays_ignored():
    process = start("steps", lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # as nohup does
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    process.communicate()


def test_without_with_nothing_is_handled():
    from glat.training.stop import Stop

    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    stop.unsaved()
    stop.output_closed()
    stop.saved(1)
    assert signal.getsignal(signal.SIGTERM) is before
