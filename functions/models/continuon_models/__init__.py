"""Models: what was trained, of what, and where it is used."""
