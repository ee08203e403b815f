"""Models: the networks of the families, one a folder, and how a model lies on disk. Nothing heavy is imported here."""
