"""Programs with and without faults, for the fault bench."""
