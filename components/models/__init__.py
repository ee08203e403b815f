"""Models, one family a folder; `settings.py` says which families there are. Nothing heavy is imported here."""

# The families' settings are sections, and the sections name the families: whoever comes first, the sections load first.
from components import params as params
