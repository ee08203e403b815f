"""The log of what was asked and answered, and of what users said was right."""
