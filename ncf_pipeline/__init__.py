"""Product recommendations for an online shop: invoices in, gated NCF, top-N lists in Redis."""

__version__ = "0.2.0"
