"""Questions that have gone wrong before; one file a question."""
