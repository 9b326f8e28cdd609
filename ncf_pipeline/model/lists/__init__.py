"""Top-N lists from a model, with their rules and reasons. Pure. Start with `assemble.py`."""
