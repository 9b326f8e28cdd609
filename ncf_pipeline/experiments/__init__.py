"""Experiments on customers: who is in which group, what a group does, and what can be told apart from chance. Pure."""
