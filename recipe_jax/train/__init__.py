"""One trial: step, chunk, look, fit."""
