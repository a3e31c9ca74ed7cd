"""Which trials go on, and from whose state."""
