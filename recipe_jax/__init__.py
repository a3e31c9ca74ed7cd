"""The recipe for training neural networks, carried out and measured."""
