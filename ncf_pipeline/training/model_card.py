"""The model card of a version, in Markdown (Mitchell et al. 2019, "Model Cards for Model Reporting")."""

import re
from collections.abc import Sequence

from ncf_pipeline.evaluation.reliability import Reliability
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.evaluation.summary import compared_with, evaluation_tables
from ncf_pipeline.model.trained import EpochReport, TrainedModel
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.registry.versions import NCF, RecentRetrain, StoredDecision, recommenders_in_words
from ncf_pipeline.training import figures
from ncf_pipeline.training.chances import ChancesTest
from ncf_pipeline.training.refit_check import RefitAgreement
from ncf_pipeline.training.style_price import StyleFacts, card_section


def render(
    *,
    version: int,
    snapshot: Snapshot,
    model: TrainedModel,
    scores: Sequence[Scores],
    decision: StoredDecision | None,
    warning: str | None = None,
    agreement: RefitAgreement | None = None,
    style: StyleFacts | None = None,
    chances: ChancesTest | None = None,
) -> str:
    """Writes the card of a model.

    Args:
        version: number of the model's version.
        snapshot: that the model was trained on.
        model: the backtest's or the refit's.
        scores: of the backtest: candidate, incumbent and baselines.
        decision: the gate's; None before it has decided.
        warning: shown above how the model was trained.
        agreement: of a refit with the evaluated model.
        style: of the served lists; None if they are plain.
        chances: the test of the backtest's chances; None if an earlier version of the package made the backtest.
    """
    parts = [
        f"# Model v{version}",
        "",
        "Recommends what a customer of this shop will buy next, from what customers bought before. "
        f"Neural collaborative filtering (He et al. 2017) with purchase context{_second_voice(model)}.",
        "",
        "## Trained on",
        f"- Snapshot {snapshot.snapshot_id}, SHA-256 `{snapshot.sha256}`",
        f"- Purchases before {model.cutoff}: {len(model.customers):,} customers, {len(model.products):,} products, "
        f"{len(snapshot.interactions):,} lines in the snapshot",
        *_sample(snapshot),
        f"- Lists: {recommenders_in_words(NCF)}",
        "",
        f"## Evaluation on the holdout before {snapshot.cutoff}",
        "",
        *_table(scores),
        "",
        "Each recommender ranks the whole catalogue. A customer who was not known before the holdout is scored by the "
        "fallback list that a storefront shows them, with every recommender alike: see the column `P@K known` for the "
        "others alone." + (" `network alone` is this model without its trees." if model.trees is not None else ""),
        "",
        *(_image(name) for name in (figures.PRECISION, figures.RETRAINS)),
        "",
        *card_section(style, scores),
        *_chances(chances),
        *_gate(decision),
        "",
        "## Training",
        "",
        *([f"**{warning}**", ""] if warning else []),
        *[f"- {epoch_line(report)}" for report in model.history],
        *([f"- {agreement.sentence()}"] if agreement is not None else []),
        "",
        _image(figures.LOSS),
        "",
        "## Not for",
        "Anything but ranking this shop's products for this shop's customers. It knows only purchases: "
        "no stock levels, margins or personal data.",
        "",
    ]
    return "\n".join(parts)


def drawn(
    model: TrainedModel,
    scores: Sequence[Scores],
    retrains: Sequence[RecentRetrain],
    chances: ChancesTest | None = None,
) -> dict[str, bytes]:
    """Draws the card's plots.

    Args:
        model: as for `render`.
        scores: as for `render`.
        retrains: from `registry.recent_retrains`.
        chances: as for `render`.

    Returns:
        SVG by file name.
    """
    return {
        figures.CHANCES: figures.chances_and_outcomes(chances),
        figures.LOSS: figures.loss_by_epoch(model.history),
        figures.PRECISION: figures.precision_of_all(scores),
        figures.RETRAINS: figures.precision_of_retrains(retrains),
    }


def with_decision(card: str, decision: StoredDecision) -> str:
    """Replaces the card's section about the gate, which had not decided when the card was written."""
    section = "\n".join(_gate(decision))
    return re.sub(r"^## Gate\n.*?(?=\n\n## )", lambda _: section, card, count=1, flags=re.DOTALL | re.MULTILINE)


def epoch_line(report: EpochReport) -> str:
    """Reports one epoch in a line, for logs and cards."""
    line = f"{report.stage} epoch {report.epoch} of {report.of}: loss {report.loss:.4f}, {report.seconds:.1f} s"
    if report.out_of_time:
        line += ", after which the time for training ran out"
    if report.for_you is None:
        return line
    return f"{line}, inner holdout Precision@5 {report.for_you:.4f} for_you, {report.discover:.4f} discover"


def _second_voice(model: TrainedModel) -> str:
    if model.trees is None:
        return ""
    return ", and beside it gradient-boosted trees (LightGBM, Ke et al. 2017) over the same features"


def _table(scores: Sequence[Scores]) -> list[str]:
    tables = evaluation_tables(scores)
    if not tables:
        return ["Not evaluated."]
    columns = max((table.headings for table in tables), key=len)  # only the table of everyone has all
    head = ("list", "cohort", "customers", "recommender", *columns)
    return [
        _line(head),
        "| --- " * len(head) + "|",
        *(
            _line(
                (table.question, table.cohort, f"{table.customers:,}", row.recommender, *table.cells_of(row, columns))
            )
            for table in tables
            for row in table.rows
        ),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _sample(snapshot: Snapshot) -> list[str]:
    if snapshot.share == 1:
        return []
    whole = snapshot.whole(len(snapshot.interactions))
    return [
        f"- A sample of the customers: these lines are {snapshot.share:.1%} of all {whole:,} (NCF_TRAIN_LINES). The "
        "evaluation is of the same customers"
    ]


def _chances(test: ChancesTest | None) -> list[str]:
    """The section about chances: the whole table of the candidate, and a line on what was served before it."""
    if test is None or test.candidate is None:
        return ["## Chances", "", "Not tested: there was nothing to test them on.", "", _image(figures.CHANCES), ""]
    of = test.candidate
    lines = [
        "## Chances",
        "",
        f"The chance that a customer buys a product of `for_you` within {test.days} days (`for_you_chances`), beside "
        f"what was bought, over {of.customers:,} known customers, whether or not they bought anything. Each customer's "
        "chances come from a map that was fitted on other customers, in the same weeks.",
        "",
        _line(("pairs", "mean chance", "bought", "95% interval over customers")),
        "| --- " * 4 + "|",
        *(
            _line(
                (
                    f"{each.pairs:,}",
                    f"{each.predicted:.1%}",
                    f"{each.observed:.1%}",
                    f"{each.low:.1%} to {each.high:.1%}",
                )
            )
            for each in of.bins
        ),
        "",
        f"- {_brier('The candidate', of)}",
    ]
    if test.incumbent is not None:
        whose = "The incumbent, with its map from earlier weeks, as it was served"
        lines.append(f"- {_brier(whose, test.incumbent)}")
    return [*lines, "", _image(figures.CHANCES), ""]


def _brier(whose: str, of: Reliability) -> str:
    return (
        f"{whose}: Brier score {of.brier:.4f}, skill {of.skill:+.1%} against {of.climatology:.4f} of one chance for "
        f"all, the share that was bought. Mean chance {of.predicted:.1%}, bought {of.observed:.1%}."
    )


def _gate(decision: StoredDecision | None) -> list[str]:
    if decision is None:
        return ["## Gate", "The gate has not decided yet: this is the model of the backtest."]
    outcome = "Let through" if decision.promote else "Held"
    details = decision.details
    return [
        "## Gate",
        f"{outcome} at {decision.decided_at:%Y-%m-%d %H:%M} UTC, compared with "
        f"{compared_with(details)}. "
        f"Requested by {details.get('requested_by', 'an unknown person')}.",
        "",
        *(f"- {reason}" for reason in decision.reasons),
        "",
        "Thresholds: " + ", ".join(f"{name} {value}" for name, value in details.get("thresholds", {}).items()) + ".",
    ]


def _image(name: str) -> str:
    return f"![{figures.CAPTIONS[name]}]({name})"
