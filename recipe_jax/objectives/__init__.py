"""What outputs are judged by, one objective a file."""
