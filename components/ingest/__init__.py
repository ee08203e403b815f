"""ingest: from a source to data.parquet."""

from components.ingest.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
