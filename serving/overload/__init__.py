"""The limits on accepting and computing requests, so that no request waits longer than it may."""
