"""The feed: which examples form batch i."""
