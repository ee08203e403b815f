"""The handling of requests: admission by key, reading, checking, answering and refusing."""
