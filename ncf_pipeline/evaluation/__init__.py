"""How good lists are, and whether a model may serve. Pure."""
