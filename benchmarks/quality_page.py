"""Writes `docs/quality.md` and its plot from the figures of `quality.py`. All numbers on the page are from one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]  # as `quality.py` keeps them in JSON

TARGETS: dict[str, dict[str, float]] = {
    "2011-09-16": {"for_you": 0.348, "discover": 0.143},
    "2011-10-14": {"for_you": 0.346, "discover": 0.144},
    "2011-11-11": {"for_you": 0.400, "discover": 0.165},
}
"""Precision@5, somewhat above the best model that was known for this shop."""

NAMES = {
    "candidate": "**this model**",
    "network_alone": "its network alone",
    "best_sellers": "best sellers",
    "recent_best_sellers": "recent best sellers",
    "personal_frequency": "personal frequency",
    "version_0": "version 0",
    "item_knn": "item-kNN (implicit)",
    "ease": "EASE",
    "ials": "iALS (implicit)",
    "bpr": "BPR (implicit)",
    "decayed_frequency": "personal frequency with decay",
    "tifu_knn": "TIFU-KNN",
    "up_cf": "UP-CF@r",
    "boosted_classifier": "boosted classifier (LightGBM)",
    "lambdarank": "LambdaRank (LightGBM)",
    "stack": "stack of the best two peers",
    "sasrec": "SASRec, with repeats",
    "neumf": "NeuMF, ids alone",
    "plain_ncf": "NCF without negatives",
}
PAGE = """# Quality

Made by `make bench-quality DATA="Online Retail.xlsx"` on {date}: {machine}; {versions}; {minutes:.0f} minutes.
The shop is UCI's Online Retail: a wholesaler of gifts in the United Kingdom, one year.

## How it is measured
For each cut, a retrain runs as a shop would run it (backtest, gate, refit, publish, with all defaults). It sees only
purchases before the cut. Then every known customer's lists are read from Redis, as the storefront reads them, and
compared with what the customer bought in the 28 days from the cut on. The whole catalogue is ranked, and no negatives
are sampled. Every customer counts who was known at the cut and bought something after it. `for_you` is scored on all
purchases, `discover` on those that were new to the customer. Precision@5 always divides by five.
Intervals are 95%, by bootstrap over customers. "ahead" is this model's lead over the other, paired by customer.
Baselines and peers are trained and scored on the same purchases and customers. The classifier and LambdaRank see this
model's own candidates and features. The stack joins the lists of two peers: {stacks}.
What each peer is, and its source, is in `ncf_pipeline/model/peers/`; how they were tuned, and on which earlier cuts, in
[experiments](experiments-offline.md#peers).

{targets}

![Precision@5 of every recommender at each cut, with 95% intervals]({plot})

{cuts}

## Who gains
{cohorts}

{ablation}## What it costs
{cost}

## What each costs
CPU seconds of training and of the lists of the known customers who bought something in the holdout. This model's are
those of a whole retrain: a backtest, a training on everything, all lists of all customers and products, checks and
publication. The others are trained once, with settings that are known. The stack's contain those of its members.

{costs}

## What the metrics mean
P@5: share of the five recommended products that were bought. R@5: share of the bought products that are among the five.
NDCG@10, MAP@10: hits among ten products, where earlier places count more. Revenue@5: share of the customers' holdout
spending that went to the five products. Coverage: share of the catalogue that is on at least one list. Novelty, in
bits: higher if fewer customers had bought the recommended products. Formulas and sources: `ncf_pipeline/evaluation/`.
"""


def write_page(figures: Figures, output: Path) -> None:
    """Writes the page, and the plot beside it."""
    plot = output.with_suffix(".svg")
    draw(figures["cuts"], plot)
    page = PAGE.format(
        date=figures["date"],
        machine=figures["machine"],
        versions=figures["versions"],
        minutes=figures["seconds"] / 60,
        plot=plot.name,
        stacks=stacks_line(figures["stacks"]),
        targets=targets_table(figures["cuts"]),
        cuts="\n\n".join(cut_tables(cut) for cut in figures["cuts"]),
        cohorts=cohort_table(figures["cuts"][-1]),
        ablation=ablation_table(figures),
        cost=cost_lines(figures),
        costs=costs_table(figures["cuts"]),
    )
    output.write_text(page)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def targets_table(cuts: Sequence[Figures]) -> str:
    """The targets, met or missed."""
    rows = []
    for cut in cuts:
        for question, target in TARGETS.get(cut["cut"], {}).items():
            entries = of(cut, question)
            mine = entries.pop("candidate")
            met = "met" if mine["precision_at_k"] >= target else f"missed by {target - mine['precision_at_k']:.4f}"
            best, other = max(entries.items(), key=lambda item: item[1]["precision_at_k"])
            rows.append(
                [
                    cut["cut"],
                    f"`{question}`",
                    f"**{mine['precision_at_k']:.4f}** {interval(mine, 'precision')}",
                    f"{target:.3f}",
                    met,
                    f"{NAMES[best]}: {other['precision_at_k']:.4f}",
                    f"{other['ahead']:+.4f} {interval(other, 'ahead')}",
                ]
            )
    if not rows:
        return "## Development cuts\nThe recipe was chosen on these; they do not show how good it is elsewhere."
    header = ["cut", "list", "Precision@5 [95%]", "target", "", "best of the others", "ahead of it [95%]"]
    return f"## Targets\n{table(header, rows)}"


def cut_tables(cut: Figures) -> str:
    """All recommenders and metrics at a cut."""
    parts = [f"## Cut {cut['cut']}"]
    if cut["held"]:
        parts.append(f"The gate held this retrain, so its lists were never in Redis: {'; '.join(cut['held'])}.")
    for question in ("for_you", "discover"):
        entries = of(cut, question)
        rows = [
            [
                NAMES[name],
                f"{entry['precision_at_k']:.4f} {interval(entry, 'precision')}",
                "" if entry["ahead"] is None else f"{entry['ahead']:+.4f} {interval(entry, 'ahead')}",
                f"{entry['recall_at_k']:.4f}",
                f"{entry['ndcg_at_10']:.4f}",
                f"{entry['map_at_10']:.4f}",
                f"{entry['revenue_at_k']:.1%}",
                f"{entry['catalog_coverage']:.1%}",
                f"{entry['novelty']:.1f}",
            ]
            for name, entry in sorted(entries.items(), key=lambda item: -item[1]["precision_at_k"])
        ]
        header = [
            f"`{question}`, {entries['candidate']['customers']:,} customers", "P@5 [95%]", "ahead [95%]", "R@5",
            "NDCG@10", "MAP@10", "revenue@5", "coverage", "novelty",
        ]  # fmt: skip
        parts.append(table(header, rows))
    return "\n\n".join(parts)


def cohort_table(cut: Figures) -> str:
    """The model and its strongest baseline, by cohort."""
    cohorts = list(dict.fromkeys(entry["cohort"] for entry in cut["scores"]))
    rows = []
    for cohort in cohorts:
        cells = [cohort]
        for question in ("for_you", "discover"):
            entries = of(cut, question, cohort)
            mine, other = entries["candidate"], entries["personal_frequency"]
            if not mine["customers"]:
                cells += ["0", "", ""]
                continue
            cells += [
                f"{mine['customers']:,}",
                f"{mine['precision_at_k']:.4f} {interval(mine, 'precision')}",
                f"{other['ahead']:+.4f} {interval(other, 'ahead')}",
            ]
        rows.append(cells)
    header = ["invoices before, country", "`for_you`: customers", "P@5 [95%]", "ahead of personal frequency [95%]",
              "`discover`: customers", "P@5 [95%]", "ahead of recent best sellers [95%]"]  # fmt: skip
    return f"At cut {cut['cut']}.\n\n{table(header, rows)}"


def ablation_table(figures: Figures) -> str:
    """The variants of the model, and what each loses."""
    if not figures["ablation"]:
        return ""
    whole = figures["ablation"][0]
    rows = [
        [
            row["name"],
            f"{row['for_you']:.4f}",
            "" if row is whole else f"{row['for_you'] - whole['for_you']:+.4f}",
            f"{row['discover']:.4f}",
            "" if row is whole else f"{row['discover'] - whole['discover']:+.4f}",
        ]
        for row in figures["ablation"]
    ]
    return f"""## What each part is worth
Mean Precision@5 over the cuts {", ".join(figures["ablation_cuts"])}, on which the recipe was chosen, over all
known customers who bought something. All variants have the same candidates; the last two rank the whole catalogue. The
second line shows how much of a difference may be chance; `make bench-recipe` tells such differences apart.

{table(["", "`for_you`", "minus the whole", "`discover`", "minus the whole"], rows)}

"""


def cost_lines(figures: Figures) -> str:
    """Time and memory of training and scoring, measured in a process of its own."""
    cost = figures["cost"]
    training, scoring = (
        sum(cost[f"{part}_seconds"] for part in parts) for parts in (("backtest", "refit"), ("customers", "products"))
    )
    retrains = ", ".join(f"{cut['retrain_seconds']:.0f} s at {cut['cut']}" for cut in figures["cuts"])
    return f"""On all {cost["lines"]:,} purchases, cutoff {cost["cutoff"][:10]}, in a process of its own:

- backtest {cost["backtest_seconds"]:.0f} s and refit {cost["refit_seconds"]:.0f} s of training, {training:.0f} s together, {cost["epochs"]} epochs chosen; at most {cost["refit_peak_mb"]:,} MB;
- lists of {cost["customers"]:,} customers {cost["customers_seconds"]:.1f} s, of {cost["products"]:,} products {cost["products_seconds"]:.1f} s, {scoring:.1f} s together; at most {cost["products_peak_mb"]:,} MB.

A whole retrain with its checks and its publication took {retrains}."""  # noqa: E501


def stacks_line(stacks: Mapping[str, Sequence[Any]]) -> str:
    """The members of the stack, and their weights."""
    of_stack = {
        question: f"{NAMES[first]} with a weight of {share:.0%} and {NAMES[second]} with {1 - share:.0%}"
        for question, (first, second, share) in stacks.items()
    }
    if len(set(of_stack.values())) == 1:
        return next(iter(of_stack.values()))
    return ", and ".join(f"in `{question}`, {members}" for question, members in of_stack.items())


def costs_table(cuts: Sequence[Figures]) -> str:
    """CPU seconds of each recommender at each cut."""
    header = ["CPU seconds", *(f"{cut['cut']}, {cut['known_customers']:,} customers" for cut in cuts)]
    names = [name for name in NAMES if name in cuts[0]["cpu_seconds"]]
    return table(header, [[NAMES[name], *(seconds(cut["cpu_seconds"][name]) for cut in cuts)] for name in names])


def seconds(value: float) -> str:
    """Two digits, or more where they are whole seconds.

    >>> [seconds(value) for value in (0.234, 4.56, 123.4)]
    ['0.23', '4.6', '123']
    """
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def draw(cuts: Sequence[Figures], path: Path) -> None:
    """Precision@5 with intervals: a panel for each list, a row for each recommender, a colour for each cut."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "quality"  # the same figures give the same file
    from matplotlib import pyplot as plt

    order = [name for name in reversed(NAMES) if name in of(cuts[0], "for_you")]
    figure, panels = plt.subplots(1, 2, figsize=(11, 0.42 * len(order) + 1.6), sharey=True, layout="constrained")
    colours = ("#9ecae1", "#4292c6", "#08306b", "#636363")
    for panel, question in zip(panels, ("for_you", "discover"), strict=True):
        for number, cut in enumerate(cuts):
            entries = of(cut, question)
            values = [entries[name]["precision_at_k"] for name in order]
            ends = [
                [abs(entries[name][f"precision_{end}"] - entries[name]["precision_at_k"]) for name in order]
                for end in ("low", "high")
            ]
            height = [row + (len(cuts) - 1 - 2 * number) * 0.11 for row in range(len(order))]
            panel.errorbar(
                values, height, xerr=ends, fmt="o", markersize=4, color=colours[number % 4], label=cut["cut"]
            )
        panel.set_title(question)
        panel.set_xlabel("Precision@5, 95% intervals")
        panel.set_xlim(left=0)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(left=False)
    panels[0].set_yticks(range(len(order)), [NAMES[name].strip("*") for name in order])
    panels[1].legend(title="cut", frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    text = Path(path).read_text()
    Path(path).write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def of(cut: Figures, question: str, cohort: str = "everyone") -> dict[str, Figures]:
    """Scores by recommender."""
    return {
        entry["recommender"]: entry
        for entry in cut["scores"]
        if entry["question"] == question and entry["cohort"] == cohort
    }


def interval(entry: Figures, name: str) -> str:
    """The ends of an interval, as text."""
    return f"[{entry[f'{name}_low']:.4f}, {entry[f'{name}_high']:.4f}]"
