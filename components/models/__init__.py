"""The networks of the model families, one folder each, and how a model is stored. Nothing heavy is imported here."""
