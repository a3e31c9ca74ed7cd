"""Networks, one architecture a file: each is a pair of pure functions."""
