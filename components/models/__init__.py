"""Models, one family a folder; `settings.py` says which families there are. Nothing heavy is imported here."""
