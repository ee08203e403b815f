"""ingest: the stage that brings a recipe's rows from their source into data.parquet."""

from components.ingest.stage import Inputs, Outputs, Report, run

__all__ = ["Inputs", "Outputs", "Report", "run"]
