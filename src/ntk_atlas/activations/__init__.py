"""Activations of the user's own: loaded from a file, and checked to act on each entry alone."""
