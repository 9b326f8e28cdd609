"""A map from scores to chances, as if it had been fitted."""

from ncf_pipeline.model.chances import FACTS, PIECES, Chances

TERMS = PIECES + len(FACTS) - 1
MAP = Chances(
    facts=FACTS, knots=(-6.0, -5.0, -4.0, -3.0), weights=(0.5,) * PIECES + (0.1,) * (TERMS - PIECES), intercept=-1.0,
    mean=(0.0,) * TERMS, deviation=(1.0,) * TERMS, low=(-10.0,) * len(FACTS), high=(10.0,) * len(FACTS),
    customers=1, pairs=1, bought=0, days=28,
)  # fmt: skip
