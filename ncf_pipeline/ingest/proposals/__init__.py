"""A file that nobody has described yet: its first rows, and the mapping that they suggest."""
