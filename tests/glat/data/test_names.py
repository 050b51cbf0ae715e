"""Names of classes: cleaned, and what looks like a mistake."""

import pytest

from glat.data.names import clean, suspicions
from glat.data.recordings.audioset import read_class_labels


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("E\u0301pervier", "\u00c9pervier"),
        (" two\u00a0\t words ", "two words"),
        ("\ufeffzero\u200b\u00adwidth\u2060", "zerowidth"),
        ("bell\x07\x00", "bell"),
        ("\u97f3\u58f0 \U0001f3a7", "\u97f3\u58f0 \U0001f3a7"),
    ],
)
def test_labels_are_read_as_they_are_seen(written, read):
    assert clean(written) == read
    assert clean(read) == read


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (("Dog", "dog", "cat"), "written in several ways"),
        (("dog_bark", "dog bark"), "written in several ways"),
        (("dog,outdoor", "cat,outdoor"), "2 labels hold ','"),
        (("a", "b", "a/b"), "1 label holds '/'"),
        (("['dog', 'cat']", "cow"), "1 label is a list written as text"),
        (("nan", "dog"), "missing label"),
    ],
)
def test_what_looks_like_a_mistake_is_named(labels, what):
    (found,) = suspicions(labels)
    assert what in found.what
    assert found.labels


@pytest.mark.parametrize(
    "labels", [("indoor/kitchen", "indoor/hall"), ("rock & roll", "drum & bass"), ("dog, barking",), ("a", "b"), ()]
)
def test_names_that_are_only_long_are_not(labels):
    assert suspicions(labels) == []


def test_audioset_s_own_names_are_not(audioset):
    assert suspicions(read_class_labels(audioset / "class_labels_indices.csv").names) == []
