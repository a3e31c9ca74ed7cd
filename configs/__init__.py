"""Ready configs; each says its command, its time and what to expect."""
