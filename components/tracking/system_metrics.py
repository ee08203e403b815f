"""The load of the machine while a stage runs, in MLflow: processor, memory, disk, network, and
a GPU where there is one.

It is measured by MLflow's own monitor, in a thread that ends with the stage.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

INTERVAL_S = 5


@contextmanager
def system_metrics(client: Any, run_id: str, *, is_carried_on: bool = False) -> Generator[None]:
    """Log the machine's load for the block, and once at its end, so that a short stage has some, too,
    unless it ends by an error. The points of a run that is carried on come after those that it has."""
    from mlflow.exceptions import MlflowException
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    psutil.cpu_percent()  # the next call gives the share since this one; the first ever would give 0
    monitor = SystemMetricsMonitor(
        run_id, sampling_interval=INTERVAL_S, tracking_uri=client.tracking_uri, resume_logging=is_carried_on
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
    with suppress(MlflowException):
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
