"""What can be observed of a training program: facts that checks share, each computed once."""
