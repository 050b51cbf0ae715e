"""The small model and its recordings, once for all tests of tagging."""

import pytest
import tagging


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A checkpoint and its labels."""
    return tagging.write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def tagger(weights):
    return tagging.load(weights)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """a.wav, b.wav and c.wav: 4, 23 and 12.5 s."""
    return tagging.write_recordings(tmp_path_factory.mktemp("recordings"))
