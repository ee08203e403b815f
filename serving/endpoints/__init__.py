"""What a bundle answers over HTTP, one file a task."""
