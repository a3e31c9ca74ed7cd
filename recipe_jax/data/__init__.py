"""Datasets: each file reads one kind; base.prepare splits, normalises and seals."""
