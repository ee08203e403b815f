"""The HTML page of a sweep, with its plots."""
