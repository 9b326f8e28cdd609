"""Scores recommendations on a holdout, and decides whether a model may serve. No input or output."""
