"""The profile of a training: real steps of it under torch's profiler, and what they say."""
