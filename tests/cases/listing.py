"""Folders as the world keeps them."""

from cases.containers import encoded, sound, write

RATE = 32_000


def recording(seed, seconds=0.5):
    return encoded(sound(seconds, RATE, seed), rate=RATE)


def two_classes(root, count=5):
    """`count` recordings of each of the classes a and b."""
    for k, label in enumerate("ab"):
        for i in range(count):
            write(root / label / f"{label}{i}.wav", recording(10 * k + i))
    return root


def beside(root, name, data):
    """Two classes, and one more file in class a."""
    write(two_classes(root) / "a" / name, data)
    return root


def linked(root):
    """A class of which a part lies on another disk, behind a link, and a link back to all of it."""
    two_classes(root / "set")
    for i in range(3):
        write(root / "disk2" / f"c{i}.wav", recording(30 + i))
    (root / "set" / "a" / "more").symlink_to(root / "disk2")
    (root / "disk2" / "again").symlink_to(root / "set")
    return root / "set"


def divided(root):
    """train/CLASS and test/CLASS."""
    two_classes(root / "set" / "train")
    two_classes(root / "set" / "test", 2)
    return root / "set"


def odd_names(root):
    """Sounds under suffixes that are rare, none, or another's."""
    kinds = {"r.wave": "WAV", "r.aifc": "AIFF", "r.bwf": "WAV", "r.rf64": "RF64", "r": "WAV", "r.dat": "WAV"}
    two_classes(root)
    for i, (name, kind) in enumerate(kinds.items()):
        write(root / "a" / name, encoded(sound(0.5, RATE, 50 + i), kind, rate=RATE))
    write(root / "a" / "r.bin", b"no sound" * 100)
    return root
