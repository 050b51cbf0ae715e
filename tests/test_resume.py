"""No run is lost: killed, terminated, or out of room, it goes on to the numbers of a run that was left alone."""

import os
import signal

import pytest
from flags import BUILT_IN
from processes import ROOT, assert_same_run, finish, start, train, wait_for

RUN = (*BUILT_IN, "--iterations", "40", "--save-every", "5", "--log-every", "5", "--eval-every", "20", "--ema", "0.9")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was left alone."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, _, complained = train(*RUN, "--run-dir", folder)
    assert status == 0, complained
    return folder


def resume_to_the_end(folder):
    status, said, complained = train(*RUN, "--run-dir", folder, "--resume", "auto")
    assert status == 0, complained
    return said


def kill_while(condition, folder):
    """Start or go on with the run, and kill it once something is true of its folder."""
    process = start(*RUN, "--run-dir", folder, "--resume", "auto")
    wait_for(condition, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def newest(folder):
    return max((folder / "checkpoints").glob("[0-9]*.pt"))


def test_killed_anywhere_and_with_a_damaged_checkpoint_it_resumes_to_the_same_weights(whole, tmp_path):
    folder = tmp_path / "run"
    saved = folder / "checkpoints"
    # While the first checkpoint is being written, and while a later one is.
    kill_while(lambda: any(saved.glob(".*")), folder)
    kill_while(lambda: any(path.name > ".glat-tmp-000000000015" for path in saved.glob(".*")), folder)
    assert not (folder / "evaluation.json").exists(), "it ended before it was killed"
    last = newest(folder)
    last.write_bytes(last.read_bytes()[:100_000])
    said = resume_to_the_end(folder)
    assert said.count(f"{last.name} is damaged") == 1
    assert "going on after step" in said
    assert_same_run(whole, folder)


def test_terminated_it_saves_and_leaves_with_75_and_a_full_disk_keeps_what_there_is(whole, tmp_path):
    folder = tmp_path / "run"
    process = start(*RUN, "--run-dir", folder)
    wait_for(lambda: (folder / "checkpoints" / "000000000005.pt").exists(), process)
    process.send_signal(signal.SIGTERM)
    status, _, complained = finish(process)
    assert status == 75
    assert complained.startswith("stopped by SIGTERM")  # and saved, or there was nothing to save
    assert complained.count("\n") == 1
    step = int(newest(folder).stem)

    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    full = start(*RUN, "--run-dir", folder, "--resume", "auto", command=("-c", limited, str(ROOT / "train.py")))
    status, said, complained = finish(full)
    assert f"going on after step {step}" in said
    assert status == 2, complained
    assert complained.startswith("error: ")
    assert complained.count("\n") == 1
    assert "cannot be written" in complained
    assert newest(folder).stem == f"{step:012d}"

    resume_to_the_end(folder)
    assert_same_run(whole, folder)
