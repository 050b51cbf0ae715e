"""Folders of runs as the world hands them over."""

import shutil

LOGS = ("metrics.jsonl", "events.out.tfevents.*", "curves.png", "remarks.json", "skipped.json")


def copied(run, root):
    """A copy elsewhere."""
    return shutil.copytree(run, root / "moved" / "a run")


def without_logs(run, root):
    return shutil.copytree(run, root / "run", ignore=shutil.ignore_patterns(*LOGS))


def read_only(run, root):
    folder = copied(run, root)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    return folder


def weights_alone(run, root):
    """What fits into an e-mail: config and weights."""
    folder = root / "run"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run / name, folder)
    return folder


def cut_checkpoint(run, root):
    folder = copied(run, root)
    last = max((folder / "checkpoints").glob("*.pt"))
    last.write_bytes(last.read_bytes()[:-1_000])
    return folder


def renamed_checkpoint(run, root):
    folder = copied(run, root)
    for path in (folder / "checkpoints").glob("*.pt"):
        path.rename(path.with_name("last.pt"))
    return folder


def cut_weights(run, root):
    folder = copied(run, root)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1_000])
    return folder


def other_classes(run, root):
    """The config of a run with another list of classes."""
    folder = copied(run, root)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"bell"', '"gong"', 1).replace('"noise"', '"hiss"', 1))
    return folder


def empty(run, root):
    folder = root / "run"
    folder.mkdir()
    return folder
