"""A hub on the loopback interface, a run to push, and huggingface_hub told of both."""

import pytest
from flags import BUILT_IN
from hub_stub import TOKEN, Hub
from huggingface_hub import constants
from trained import train_here


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run that has ended, with weights of its best evaluation that are other than its last."""
    folder = tmp_path_factory.mktemp("hub") / "secret_project" / "run"
    train_here(*BUILT_IN, "--iterations", 3, "--eval-every", 1, "--save-every", 1, "--run-dir", folder)
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub; this process knows it, and has a token."""
    with Hub() as hub:
        at(monkeypatch, hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its transfers need a server of their own
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def at(monkeypatch, url):
    """Have huggingface_hub, which reads HF_ENDPOINT when it is imported, ask this address."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def environment(hub, tmp_path):
    """What tells another process of the same hub."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
    }
