"""The trials of a sweep: what one is, its work, its size and speed once served, and the processes that run it."""
