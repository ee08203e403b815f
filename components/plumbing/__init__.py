"""The base of every part: files and their digests, errors, logs, locks, processes, progress, pages and pictures."""
