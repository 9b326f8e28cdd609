"""Embedded servers: everything on one machine, nothing else installed."""
