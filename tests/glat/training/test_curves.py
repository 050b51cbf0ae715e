"""TensorBoard's points on a full disk: one line, no traceback of its thread."""

import resource
import signal
import threading
from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from glat.errors import UserError
from glat.training.curves import Curves


@contextmanager
def no_room_beyond(most_bytes):
    """Files of this process do not grow beyond, as on a full disk."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def add_pictures(curves):
    for step in range(100):
        curves.show("crops", Figure(), step)
        curves.flush()


def test_a_full_disk_is_an_error_of_one_line(tmp_path, capsys):
    usual = threading.excepthook
    curves = Curves(tmp_path, purge_step=0)
    curves.add(0, loss=0.5, mAP=None)
    with no_room_beyond(1_000):
        for call in (lambda: add_pictures(curves), lambda: curves.add(1, loss=0.5), curves.close):
            with pytest.raises(UserError, match="cannot be written .* make room") as raised:
                call()
            assert "\n" not in str(raised.value)
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook == usual
