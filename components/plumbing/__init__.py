"""What every part stands on: files and their digests, errors, logs, locks, processes, progress, pages and pictures."""
