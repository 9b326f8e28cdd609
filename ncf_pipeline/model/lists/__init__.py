"""From scores to lists. Pure."""
