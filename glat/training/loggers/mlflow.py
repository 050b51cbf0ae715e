"""The run in MLflow: in files in the run's folder, unless ``MLFLOW_TRACKING_URI`` names a server or another store."""

import math
import os
import time
from collections.abc import Mapping

from matplotlib.figure import Figure

from . import About, End

# It reports its use over the network otherwise; and of a server that is away it waits for minutes.
for _name, _value in (
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
    ("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"),
):
    os.environ.setdefault(_name, _value)

from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

FOLDER = "mlruns"
MOST_AT_ONCE = 100  # settings and points in one request
STATUS: dict[End, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def start(about: About) -> "MLflow":
    """Start the run there, or go on with it."""
    return MLflow(about)


class MLflow:
    """Writes a run of MLflow. What it holds of an earlier process already is not written again."""

    def __init__(self, about: About) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = (about.folder / FOLDER).resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes more than mlflow-skinny
        self._client = MlflowClient(tracking_uri=uri)
        self._written: dict[str, int] = {}  # the last step of every curve
        known = about.known_as.get("run_id") if about.known_as.get("uri") == uri else None
        self._id = known or self._created(about)
        if known is not None:
            self._client.update_run(known, status="RUNNING")
            for name in self._client.get_run(known).data.metrics:
                self._written[name] = max(point.step for point in self._client.get_metric_history(known, name))
        self.known_as = {"run_id": self._id, "uri": uri}
        self.said = f"mlflow      run {self._id} in {uri}"
        for row in about.rows:
            self.scalars(int(row["step"] or 0), row)

    def _created(self, about: About) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "glat")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run = self._client.create_run(experiment, run_name=about.folder.resolve().name)
        flat = {"preset": about.config["preset"]}
        flat |= {n: v for part in about.config.values() if isinstance(part, dict) for n, v in part.items()}
        settings = [Param(name, str(value)) for name, value in flat.items()]
        for first in range(0, len(settings), MOST_AT_ONCE):
            self._client.log_batch(run.info.run_id, params=settings[first : first + MOST_AT_ONCE])
        return str(run.info.run_id)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """As of `Logger`."""
        now = int(1000 * time.time())
        points = []
        for name, value in values.items():
            if name != "step" and value is not None and math.isfinite(value) and step > self._written.get(name, -1):
                points.append(Metric(name, value, now, step))
                self._written[name] = step
        if points:
            self._client.log_batch(self._id, metrics=points)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """As of `Logger`."""
        self._client.log_figure(self._id, figure, f"{name}/{step:012d}.png")

    def summary(self, values: Mapping[str, float]) -> None:
        """As of `Logger`."""
        now = int(1000 * time.time())
        found = [Metric(name, value, now, 0) for name, value in values.items() if math.isfinite(value)]
        self._client.log_batch(self._id, metrics=found)

    def flush(self) -> None:
        """Nothing: every call has written."""

    def close(self, end: End) -> None:
        """As of `Logger`."""
        self._client.set_terminated(self._id, STATUS[end])
