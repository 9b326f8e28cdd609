"""What visitors view, put into a basket and wish: out of a Redis stream or files, checked, into Postgres.

All of it is optional. Without events nothing else changes, and no list is made of them.
"""
