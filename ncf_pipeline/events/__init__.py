"""What visitors view, put into a basket and wish: out of a Redis stream or files, checked, into Postgres.

All of it is optional. Without events nothing else changes. Lists know them by way of snapshots: see
`registry.snapshots` and `model.features.looks`.
"""
