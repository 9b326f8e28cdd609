"""Tunes the peers on the development cuts: prints a table of every setting of a small grid.

    python benchmarks/peers.py --data "Online Retail.xlsx" [--only tifu_knn up_cf]

Cuts are every fourth of those of `recipes.py`, so none is among the workbook's cuts for the final look. Each setting is
one change of the defaults in `ncf_pipeline/model/peers/`, or two that go together. Results are kept as those of
`recipes.py` are. The best setting by the sum of both precisions is in bold: if it is not the default, it should be.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from recipes import TREE, UNTIL, cuts_of, fit_in_processes, folder_of, interactions_of, parser, results, side_of

from ncf_pipeline.evaluation.scores import QUESTIONS

EVERY = 4

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)

GRID: dict[str, tuple[str, ...]] = {
    "item_knn": ("", "neighbours=5", "neighbours=10", "neighbours=100", "neighbours=400"),
    "ease": ("", "ridge=100", "ridge=1000", "ridge=3000"),
    "ials": (
        "", "alpha=0.3", "alpha=5", "alpha=20", "factors=32", "factors=64", "factors=256", "regularization=0.1",
    ),
    "decayed_frequency": ("", "half_life_days=45", "half_life_days=180", "half_life_days=365"),
    "tifu_knn": (
        "", "neighbours=100", "neighbours=900", "discover_neighbours=15", "discover_neighbours=60",
        "discover_neighbours=300", "own=0.2", "own=0.5", "own=0.7", "groups=3", "groups=7", "within=1 between=1",
        "within=0.95 between=0.8",
    ),
    "up_cf": (
        "", "recent=5", "recent=10", "recent=100", "locality=10", "locality=40", "discover_locality=1",
        "discover_locality=3", "discover_locality=10", "asymmetry=0.25", "asymmetry=0.75",
    ),
    "boosted_classifier": ("", "leaves=15", "leaves=63", "in_leaf=100", "rounds=100", "rounds=400"),
    "lambdarank": ("", "leaves=15", "leaves=63", "in_leaf=100", "rounds=100", "rounds=400"),
    "sasrec": ("", "epochs=8", "epochs=20", "length=100", "dropout=0.4"),
    "stack": (
        "",
        *(f"for_you=boosted_classifier,{second},{share}" for second in ("lambdarank", "up_cf", "tifu_knn")
          for share in SHARES),
        *(f"discover=boosted_classifier,{second},{share}" for second in ("lambdarank", "ease", "item_knn", "up_cf")
          for share in SHARES),
    ),
}  # fmt: skip
"""Settings by peer; "" stands for the defaults. Those of the stack are its members and the weight of the first one."""


def tuned(options: argparse.Namespace, names: Sequence[str]) -> str:
    """Trains what has no result yet; returns the table, the best setting of each peer in bold."""
    began = time.perf_counter()
    until = options.until or (None if options.synthetic else UNTIL)
    shop, parquet, interactions = interactions_of(options)
    cuts = cuts_of(interactions, until)[:: options.every]
    sides = [side_of(f"peer={name} {settings}") for name in names for settings in GRID[name]]
    folders = [folder_of(options.work, shop, TREE, side) for side in sides]
    fit_in_processes(options, until, parquet, [(TREE, *each) for each in zip(folders, sides, strict=True)], cuts)
    rows: dict[str, list[tuple[str, list[float]]]] = {name: [] for name in names}
    for folder, side in zip(folders, sides, strict=True):
        of_cuts = [of_seeds[0] for of_seeds in results(folder, side, cuts, options.seeds)]
        precision = [float(np.mean([np.mean(cut[name]["precision_at_k"]) for cut in of_cuts])) for name in QUESTIONS]
        ndcg = [float(np.mean([np.mean(cut[name]["ndcg_at_10"]) for cut in of_cuts])) for name in QUESTIONS]
        rows[side.settings["peer"]].append((side.text, [*precision, *ndcg]))
    lines = ["| peer and settings | `for_you` P@5 | `discover` P@5 | `for_you` NDCG@10 | `discover` NDCG@10 |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for of_peer in rows.values():
        best = max(of_peer, key=lambda row: row[1][0] + row[1][1])
        for row in of_peer:
            text, figures = row
            label = text.removeprefix("peer=")
            lines.append(f"| {f'**{label}**' if row is best else label} | {' | '.join(f'{x:.4f}' for x in figures)} |")
    dates = ", ".join(f"{cut:%Y-%m-%d}" for cut in cuts)
    return f"{shop}: means over {dates}; {time.perf_counter() - began:.0f} s.\n\n" + "\n".join(lines)


def main() -> None:
    command = parser(__doc__)
    command.set_defaults(every=EVERY)
    command.add_argument("--only", nargs="+", choices=list(GRID), default=list(GRID), help="peers")
    options = command.parse_args()
    options.work = options.work.resolve()
    print(tuned(options, options.only))


if __name__ == "__main__":
    main()
