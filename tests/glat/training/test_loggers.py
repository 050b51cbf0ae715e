"""Curves for TensorBoard, Weights & Biases and MLflow, read back by what reads them; and what fails ends no run."""

import ast
import json
import resource
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from flags import TINY
from matplotlib.figure import Figure
from processes import assert_equal, curves, metrics, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trained import train_here

from glat.config import TrainConfig, to_json
from glat.errors import Stopped, UserError
from glat.training import loggers
from glat.training.loggers import About, Loggers, closed, require, tensorboard

ROOT = Path(__file__).resolve().parents[3]
RUN = (*TINY, "--train-clips", 8, "--eval-clips", 6, "--schedule", "constant", "--log-every", 1)


def about(folder, **more):
    told = {"config": to_json(TrainConfig()), "first_step": 0, "rows": (), "known_as": {}}
    return About(folder, **(told | more))


@pytest.fixture
def at_rest(monkeypatch):
    """No setting of this machine's wandb and MLflow."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_all_loggers_get_a_run_that_is_stopped_and_goes_on_and_change_nothing_in_it(tmp_path, at_rest, capsys):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    alone, logged = tmp_path / "alone", tmp_path / "logged"
    train_here(*RUN, "--iterations", 2, "--eval-every", 1, "--logger", "none", "--run-dir", alone)
    assert not list(alone.glob("events.*"))
    assert not (alone / "loggers.json").exists()
    for steps in (1, 2):
        names = ("tensorboard", "wandb", "mlflow")[steps == 1 :]
        more = ("--iterations", steps, "--eval-every", 1, "--logger", *names, "--run-dir", logged, "--resume", "auto")
        train_here(*RUN, *more, pictures=True)
    assert "failed" not in capsys.readouterr().err
    assert metrics(alone) == metrics(logged)
    assert_equal(weights(alone / "model.safetensors"), weights(logged / "model.safetensors"), "weights")
    wanted = {}
    for row in metrics(logged):
        for name in ("loss", "mAP_fused"):
            if name in row:
                wanted.setdefault(name, []).append((row["step"], row[name]))
    assert [len(points) for points in wanted.values()] == [3, 2]
    results = json.loads((logged / "evaluation.json").read_text())["streams"]

    # TensorBoard was chosen for the second part, and is given the first one, too.
    assert {name: [(s, pytest.approx(v)) for s, v in curves(logged)[name]] for name in wanted} == wanted
    pictures = EventAccumulator(str(logged))
    pictures.Reload()
    assert pictures.Tags()["images"] == ["crops"]

    from mlflow.tracking import MlflowClient

    known = json.loads((logged / "loggers.json").read_text())
    client = MlflowClient(tracking_uri=(logged / "mlruns").as_uri())
    (experiment,) = (e for e in client.search_experiments() if e.name == "glat")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (known["mlflow"]["run_id"], "logged", "FINISHED")
    assert run.data.params["width"] == "0.1"
    assert run.data.metrics["end/mAP_local"] == pytest.approx(results["local"]["mAP"])
    for name, points in wanted.items():
        assert [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)] == points
    assert [f.path for f in client.list_artifacts(run.info.run_id, "crops")] == [
        f"crops/{step:012d}.png" for step in (0, 1, 2)
    ]

    from wandb_runs import items, records

    found = sorted(logged.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in found] == 2 * [f"run-{known['wandb']['id']}.wandb"]
    entries = [record for path in found for record in records(path)]
    assert {(e.run.run_id, e.run.project, e.run.display_name) for e in entries if e.HasField("run")} == {
        (known["wandb"]["id"], "glat", "logged")
    }
    assert any(items(e.run.config.update).get("model", {}).get("width") == 0.1 for e in entries if e.HasField("run"))
    rows = [items(e.history.item) for e in entries if e.HasField("history")]
    for name, points in wanted.items():
        # The evaluation after the first part's checkpoint is made, and noted, again.
        assert sorted({(row["step"], row[name]) for row in rows if name in row}) == points
    assert {row["step"] for row in rows if "crops" in row or "crops/_type" in row} == {0, 1, 2}
    summary = {}
    for entry in entries:
        summary |= items(entry.summary.update) if entry.HasField("summary") else {}
    assert summary["end/mAP_local"] == pytest.approx(results["local"]["mAP"])
    assert [e.exit.exit_code for e in entries if e.HasField("exit")] == [0, 0]


def test_a_server_that_is_away_is_one_line_and_the_run_goes_on(tmp_path, at_rest, monkeypatch, capsys):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = Loggers(["mlflow"], about(tmp_path))
    assert not found.any
    found.scalars(1, {"loss": 0.5})
    found.finish({"end/step": 1})
    said = capsys.readouterr().err
    assert said.startswith("warning: --logger mlflow failed (MlflowException: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


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


def test_a_full_disk_is_one_line_and_no_traceback_of_a_thread(tmp_path, capsys):
    usual = threading.excepthook
    found = Loggers(["tensorboard"], about(tmp_path))
    found.scalars(0, {"loss": 0.5, "mAP": None})
    with no_room_beyond(1_000):
        for step in range(100):
            found.figure("crops", Figure(), step)
            found.flush()
        found.scalars(1, {"loss": 0.5})
        found.finish({})
    said = capsys.readouterr().err
    assert "warning: --logger tensorboard failed (OSError: " in said
    assert said.count("\n") == 1
    assert threading.excepthook == usual


class Noted:
    """A logger that notes its calls, and fails where it is told to."""

    def __init__(self, fails=()):
        self.known_as, self.said, self.calls, self.fails = {"id": "7"}, "noted", [], fails

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name in self.fails:
                raise RuntimeError("no\nwhere")

        return call


@pytest.fixture
def noted(monkeypatch):
    """Two loggers that are started in place of TensorBoard's and another's."""
    found = {"tensorboard": Noted(fails=("scalars", "close")), "noted": Noted()}
    modules = {f".{name}": type("Module", (), {"start": lambda told, one=one: one}) for name, one in found.items()}
    monkeypatch.setattr(loggers.importlib, "import_module", lambda name, package: modules[name])
    return found


def test_what_fails_in_one_is_said_once_and_the_others_go_on(tmp_path, noted, capsys):
    found = Loggers(["tensorboard", "noted"], about(tmp_path))
    for step in (1, 2):
        found.scalars(step, {"loss": 1.0})
    found.finish({"x": 2.0})
    assert noted["tensorboard"].calls == [("scalars", 1, {"loss": 1.0}), ("close", "failed")]
    points = [("scalars", step, {"loss": 1.0}) for step in (1, 2)]
    assert noted["noted"].calls == [*points, ("summary", {"x": 2.0}), ("close", "finished")]
    said = capsys.readouterr().err
    assert said.startswith("warning: --logger tensorboard failed (RuntimeError: no); the run goes on without it")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("error", "end"), [(Stopped("a signal", 75), "stopped"), (UserError("NaN"), "failed")])
def test_a_run_that_is_ended_closes_its_loggers_and_says_nothing(error, end, tmp_path, noted, capsys):
    @closed()
    def run():
        Loggers(["tensorboard", "noted"], about(tmp_path))
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            run()
    assert noted["noted"].calls == 2 * [("close", end)]
    assert capsys.readouterr().err == ""


def test_a_damaged_note_of_them_is_said_and_begins_anew(tmp_path, noted, capsys):
    Loggers(["noted"], about(tmp_path))
    path = tmp_path / "loggers.json"
    path.write_text(path.read_text().replace("7", "8"))
    Loggers(["noted"], about(tmp_path))
    said = capsys.readouterr().err
    assert "loggers.json is damaged" in said
    assert said.count("\n") == 1


def test_a_logger_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--logger wandb needs wandb: pip install 'glat\[wandb\]', or leave it out"):
        require(("none", "wandb"))


def test_the_libraries_are_imported_where_they_are_chosen_only():
    own = {ROOT / "glat" / "training" / "loggers" / f"{name}.py" for name in loggers.NEEDED}
    for path in {*(ROOT / "glat").rglob("*.py"), ROOT / "train.py"} - own:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [n for n in names if n.split(".")[0] in loggers.NEEDED or "tensorboard" in n], path
    assert tensorboard.start
