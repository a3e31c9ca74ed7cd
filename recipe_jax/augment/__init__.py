"""What happens to training examples on the way in, one transform a file."""
