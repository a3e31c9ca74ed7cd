"""How the rate moves over a run, one shape a file."""
