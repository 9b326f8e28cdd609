"""Experiments on customers: who is in which group, what the groups bought, and what cannot be chance.

`stages` reads and writes; `records` and `sales` are its database, `report` its files. All other modules are pure.
"""
