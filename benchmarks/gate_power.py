"""How often the gate lets worse candidates through, before and after its limits became relative. Prints Markdown.

    python benchmarks/gate_power.py [--repeats 300]

Candidates are simulated, customer by customer, in made-up shops: `ncf_pipeline/evaluation/simulation.py`. Now is the
real `decide` with the default settings. Before is the rule of version 0.1.0: Precision@5 at most 0.02 below the
incumbent's at the lower end of the interval, in no cohort more than 0.03 unless by chance, and at least 50 customers.
It takes about two minutes.
"""

import argparse
from collections.abc import Sequence

from ncf_pipeline.evaluation.gate import decide
from ncf_pipeline.evaluation.scores import EVERYONE, INCUMBENT, Scores
from ncf_pipeline.evaluation.simulation import LOW, REAL, WELL_TRAINED, evaluations
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import thresholds

CHANGES = (-0.05, 0.0, 0.05, 0.1, 0.2)
"""Shares by which candidates are worse."""

SHOPS = (
    *(("", customers, REAL, agreement) for customers in (60, 100, 200, 400) for agreement in (0.8, 0.6)),
    *(("", customers, REAL, 0.8) for customers in (1547, 10_000)),
    *((", P@5 .05 / .03", customers, LOW, 0.6) for customers in (60, 1547, 5000)),
)


def as_before(scores: Sequence[Scores]) -> bool:
    """The rule of version 0.1.0 against an incumbent."""
    rows = [score for score in scores if score.recommender == INCUMBENT]
    everyone = [score for score in rows if score.cohort == EVERYONE]
    if any(score.customers < 50 for score in everyone):
        return False
    suffers = any(
        (score.ahead or 0) < -0.03 and (score.ahead_high or 0) < 0
        for score in rows
        if score.cohort != EVERYONE and score.customers >= 50
    )
    return not suffers and all((score.ahead_low or 0) >= -0.02 for score in everyone)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    limits = thresholds(Settings())
    heads = ["5% better", "equal", "5% worse", "10% worse", "20% worse", "only `discover` 10% worse"]
    print(f"| of 100, before → now | places alike | {' | '.join(heads)} |")
    print("| --- " * (len(heads) + 2) + "|")
    for name, customers, precision, agreement in SHOPS:
        cells = []
        cases = [dict.fromkeys(precision, worse) for worse in CHANGES] + [{"discover": 0.1}]
        for worse in cases:
            count = max(40, min(repeats, 400_000 // customers))
            found = list(evaluations(customers, precision, worse=worse, agreement=agreement, repeats=count))
            before = sum(map(as_before, found)) / count
            now = sum(decide(scores, WELL_TRAINED, limits).promote for scores in found) / count
            cells.append(f"{100 * before:.0f} → **{100 * now:.0f}**")
        print(f"| {customers:,} customers{name} | {agreement:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
