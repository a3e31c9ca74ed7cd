"""Optimisers, one a file: optax chains whose numbers may be traced."""
