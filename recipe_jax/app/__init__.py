"""Where the pure stages meet files, clocks and people."""
