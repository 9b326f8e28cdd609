"""What the shop knew at an instant, as numbers. Pure. Start with `events.py`; `contexts.py` joins everything."""
