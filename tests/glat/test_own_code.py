"""A network that a file names is code: it runs only where the caller named the same."""

import sys

import pytest

from glat.backbones import build
from glat.backbones.own import refuse_unnamed
from glat.errors import UserError

NETWORK = """
from functools import partial
from os import kill
from pathlib import Path
from torch import nn
from glat.backbones import CNN10, Adapted

Path("ran").touch()

def make(num_classes, width):
    features = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 320, 320), nn.ReLU())
    head = nn.Linear(4, num_classes)
    return Adapted(Turned(features), head, sample_rate_hz=16_000, num_classes=num_classes, channels=4)

class Turned(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, wave):
        return self.inner(wave).mT

def wrong(num_classes, width):
    return nn.Identity()

def one(num_classes):
    return None

partly = partial(make)
number = 5
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to stand in, with a module of its own name: Python keeps what it has imported."""
    name = f"my_audio_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("named", [(), ("other",), ("my_audio:other",), ("my", "audio")])
def test_a_module_that_the_caller_did_not_name_is_refused(named):
    with pytest.raises(UserError, match=r"^runs/a asks for the network my_audio:make, .* add --allow-code my_audio$"):
        refuse_unnamed(["cnn10", None, "my_audio:make"], named, "runs/a", "--allow-code {module}")


@pytest.mark.parametrize("named", [("my_audio",), ("my_audio:make",)])
def test_a_module_that_the_caller_named_and_our_own_networks_are_let_through(named):
    refuse_unnamed(["cnn10", None, "my_audio:make"], named, "runs/a", "")


def test_the_current_folder_joins_the_path_only_for_a_module_that_is_named(here, tmp_path):
    build("cnn10", 2, 0.1)
    assert str(tmp_path) not in sys.path
    assert build(f"{here}:make", 3).num_classes == 3
    assert build(f"{here}:CNN10", 2, 0.1).num_classes == 2, "a Backbone class, wherever it is defined"
    assert sys.path[-1] == str(tmp_path)


def test_an_installed_module_is_not_looked_for_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UserError, match="has no 'nothing'"):
        build("soundfile:nothing", 1)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("kill", "is a builtin_function_or_method of the module posix; wanted"),
        ("partly", "is a partial.*; wanted"),
        ("number", "is a int; wanted"),
        ("Turned", "is a type; wanted"),
        ("one", "cannot be called .*; wanted factory"),
        ("wrong", "made Identity; wanted a glat.backbones.Backbone"),
        ("Path", "of the module pathlib"),
        ("nothing", "has no 'nothing'"),
        ("os.kill", "wanted module:factory"),
        ("", "wanted module:factory"),
    ],
)
def test_only_a_network_or_a_function_of_that_module_is_called(here, attribute, said):
    with pytest.raises(UserError, match=said):
        build(f"{here}:{attribute}", 2)


@pytest.mark.parametrize("name", ["os:kill", "posix:kill", "subprocess:call", ":x", "../a:b", "a b:c"])
def test_nothing_of_the_system_is_called(name):
    with pytest.raises(UserError, match="wanted|has no"):
        build(name, 1)
