"""Runs train.py in forks of itself, which has imported everything: a start takes tenths of a second instead of seconds.

Reads a JSON request a line from standard input and answers each with a line: the process id of a fork that was started,
or the exit status of one that is asked for (null while it runs; minus the signal that killed it).
"""

import json
import os
import resource
import runpy
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from trained import without_pictures

from glat import data

TRAIN = str(Path(__file__).resolve().parents[1] / "train.py")


without_pictures(pytest.MonkeyPatch())


def serve() -> None:
    runpy.run_path(TRAIN, run_name="imported")
    for line in sys.stdin:
        request = json.loads(line)
        if "status" in request:
            pid, status = os.waitpid(request["status"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            become(request)
        print(json.dumps(answer), flush=True)


def become(request) -> None:
    """Be what ``python train.py ...`` is, in a session of its own."""
    os.setsid()
    for number, path in enumerate(("/dev/null", *request["outputs"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), number)
    sys.stdin.close()
    if request["most_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["most_bytes"],) * 2)
    os.environ.update(request["environment"])
    if request["hears"]:  # a rank whose machine has other files at the same path
        load = data.load
        data.load = lambda config, *more, **options: load(
            replace(config, data=Path(request["hears"])), *more, **options
        )
    sys.argv = [TRAIN, *request["arguments"]]
    status = 0
    try:
        runpy.run_path(TRAIN, run_name="__main__")
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)  # the interpreter takes a second to end


serve()
