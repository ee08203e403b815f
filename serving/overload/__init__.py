"""What is accepted, and what is computed at once: nothing waits longer than it may."""
