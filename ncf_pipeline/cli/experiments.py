"""The commands `experiment`: plan, start, report, stop and list experiments on customers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ncf_pipeline.cli.options import Json, log_to_terminal, user, version_number
from ncf_pipeline.errors import InputError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # it imports pandas and SciPy, which `--help` need not wait for
    from ncf_pipeline.experiments.plan import Plan, PlannedShare
    from ncf_pipeline.experiments.records import Experiment


class Order(StrEnum):
    """The orders of lists; `ncf_pipeline.model.lists.style` defines them."""

    PRECISION = "precision"
    VALUE = "value"


class Metric(StrEnum):
    """The measures; `ncf_pipeline.experiments.measures` defines them."""

    AVERAGE_ORDER_VALUE = "average_order_value"
    ITEMS_PER_BASKET = "items_per_basket"
    ORDERS_PER_CUSTOMER = "orders_per_customer"
    REVENUE_PER_CUSTOMER = "revenue_per_customer"
    REPEAT_RATE = "repeat_rate"


class Decides(StrEnum):
    """Whether any weekly look may decide, or one look at the end."""

    WEEKLY = "weekly"
    ONCE = "once"


MOST_WEEKS = 520
"""Weeks that an experiment may last: ten years."""

experiment_app = typer.Typer(
    help="Find out whether the lists sell more, by experiments on customers. See docs/experiments.md.",
    no_args_is_help=True,
)

Effect = Annotated[float, typer.Option(min=0.001, max=3, help="Least effect worth finding: 0.05 for 5%.")]
Power = Annotated[float, typer.Option(min=0.5, max=0.99, help="Chance of finding that effect.")]
Metrics = Annotated[
    list[Metric] | None,
    typer.Option(
        help="Measure to ask about; repeat it to ask about several. The first is the deciding one. "
        "Default: average_order_value.",
        show_default=False,
    ),
]
Name = Annotated[str | None, typer.Argument(help="Name of the experiment. Default: the newest.")]


def register(app: typer.Typer) -> None:
    """Adds the commands `experiment`."""
    app.add_typer(experiment_app, name="experiment")


@experiment_app.command()
def plan(
    effect: Effect = 0.05,
    share: Annotated[
        float | None,
        typer.Option(min=0.001, max=0.5, help="Share of the customers in the smaller group. Default: several."),
    ] = None,
    weeks: Annotated[int | None, typer.Option(min=2, max=104, help="Also show what so many weeks find.")] = None,
    power: Power = 0.8,
    metric: Metrics = None,
    as_json: Json = False,
) -> None:
    """Show how many weeks, and what share of the customers, it takes to find an effect. Changes nothing."""
    from ncf_pipeline.experiments import stages
    from ncf_pipeline.experiments.sentences import plan_in_words

    first, *also = _asked(metric)
    with serving(load_settings()) as settings:
        made = stages.plan(settings, effect=effect, power=power, metric=first, share=share, also=also, weeks=weeks)
    if as_json:
        typer.echo(json.dumps(made.as_dict()))
        return
    console = Console()
    console.print(_plan_table(made, made.metric, made.shares))
    for other in made.also:
        console.print(_plan_table(made, other.metric, other.shares))
    for line in plan_in_words(made):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@experiment_app.command()
def start(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    hypothesis: Annotated[str, typer.Option(help="What you expect, in a sentence.")],
    effect: Effect = 0.05,
    share: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of the customers who see something else.")
    ] = 0.05,
    challenger: Annotated[
        str | None, typer.Option(help="Show the share the lists of this version (7 or v7) instead of best sellers.")
    ] = None,
    order: Annotated[
        Order | None, typer.Option(help="Show the share the champion's lists in this order instead of best sellers.")
    ] = None,
    weeks: Annotated[
        int | None, typer.Option(min=2, max=MOST_WEEKS, help="Ends after so many weeks. Default: no end.")
    ] = None,
    decides: Annotated[Decides, typer.Option(help="Decide at any weekly look, or once, at the end.")] = Decides.WEEKLY,
    metric: Metrics = None,
    power: Power = 0.8,
    harm_bound: Annotated[
        float, typer.Option(min=0, max=1, help="How much worse off the share may be: 0.1 for 10%.")
    ] = 0.1,
    ends_on_harm: Annotated[
        bool, typer.Option(help="End by itself when the share surely is worse off than that.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Start an experiment, and publish its groups' lists at once."""
    from ncf_pipeline.experiments import records as experiment_registry
    from ncf_pipeline.experiments import stages
    from ncf_pipeline.experiments.design import ONCE_NEEDS_WEEKS, Design
    from ncf_pipeline.registry.snapshots import newest_cutoff

    if decides is Decides.ONCE and weeks is None:
        raise typer.BadParameter(ONCE_NEEDS_WEEKS)
    if order is not None and challenger is not None:
        raise typer.BadParameter("--order and --challenger are two questions: ask one after the other.")
    first, *also = _asked(metric)
    expected = _text("--hypothesis", hypothesis)
    with serving(load_settings()) as settings:
        now = newest_cutoff(settings)
        design = Design(
            name=_checked_name(name),
            hypothesis=expected,
            kind="challenger" if challenger is not None else "holdout" if order is None else "order",
            share=share,
            salt=experiment_registry.new_salt(),
            starts_at=now,
            minimum_effect=effect,
            power=power,
            metric=first,
            also=tuple(also),
            decides="once" if decides is Decides.ONCE else "weekly",
            harm_bound=harm_bound,
            ends_on_harm=ends_on_harm,
            challenger=None if challenger is None else version_number(challenger),
            list_order=None if order is None else order.value,
            ends_at=None if weeks is None else now + timedelta(weeks=weeks),
        )
        entry = stages.start(settings, design, by=user())
        number = _publish(settings, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"experiment": entry.design.name, "publication": number}))
    else:
        seen = design.seen_by_share
        Console().print(f"{name} runs: {share:.1%} of the customers see {seen}{_since(number)}.", highlight=False)


@experiment_app.command()
def stop(
    reason: Annotated[str, typer.Option(help="Reason, for the record.")],
    name: Name = None,
    as_json: Json = False,
) -> None:
    """End an experiment, and publish the champion's lists for everybody at once. Its reports are kept."""
    from ncf_pipeline.experiments import stages

    why = _text("--reason", reason)
    with serving(load_settings()) as settings:
        entry = stages.stop(settings, name, by=user(), why=why)
        number = _publish(settings, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"experiment": entry.design.name, "publication": number}))
    else:
        Console().print(f"{entry.design.name} has ended: everybody sees the champion's lists{_since(number)}.")


@experiment_app.command()
def report(name: Name = None, as_json: Json = False) -> None:
    """Measure an experiment until now, and write its report. Ends it if its time is over or its share is harmed."""
    from ncf_pipeline.experiments import report as experiment_report
    from ncf_pipeline.experiments import stages

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=True)
        look = stages.look(settings, name)
        ended = look is not None and stages.conclude(settings, look)
        number = _publish(settings, quiet=True) if ended else None
    if look is None:
        words = "Nothing has been bought yet since its lists went live, so there is nothing to measure."
        typer.echo(json.dumps({"figures": None})) if as_json else Console().print(words)
        return
    if as_json:
        typer.echo(json.dumps({**look.as_dict(), "ended": ended, "publication": number}))
        return
    console = Console()
    console.print(f"[bold]{look.name}[/bold]", highlight=False)
    console.print(look.sentence, soft_wrap=True, highlight=False, markup=False)
    table = Table("", "treated", "control", "in percent [95%, one look]", "[95%, always valid]")
    several = experiment_report.head(look.results)[len(experiment_report.HEAD) :]
    for name in several:
        table.add_column(name)
    for result in look.results.measures:
        words, treated, control, _, percent, always, _, _, *together = experiment_report.cells(result)
        table.add_row(words, treated, control, percent, always, *together)
    console.print(table, markup=False)
    if look.results.measures:
        words = "Percentages use CUPED: what the groups differed by before is subtracted. Large values are Winsorized."
        console.print(words, soft_wrap=True, highlight=False, markup=False)
    if look.results.exposure is not None:
        words = f"{experiment_report.exposed(look.results.exposure)}."
        console.print(words, soft_wrap=True, highlight=False, markup=False)
    for line in filter(None, (look.harm, look.loss, look.mismatch)):
        console.print(f"Note: {line}", soft_wrap=True, highlight=False, markup=False)
    if ended:
        console.print(f"The experiment has ended: {look.ends}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Report: {look.url}/{experiment_report.MARKDOWN}", soft_wrap=True, highlight=False, markup=False)


@experiment_app.command()
def check(as_json: Json = False) -> None:
    """Check now whether customers see the lists of their group. `watch_freshness` checks every hour."""
    from ncf_pipeline.serving import exposure
    from ncf_pipeline.serving.watch import check_groups

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=True)
        found = check_groups(settings)
    if as_json:
        groups = {name: asdict(looked) for name, looked in found.groups.items()} if found is not None else None
        typer.echo(json.dumps({"publication": found.publication if found is not None else None, "groups": groups}))
    elif found is None:
        Console().print("No experiment runs, or nothing is live, so there is nothing to check.")
    else:
        text = exposure.words(found.groups)
        Console().print(f"{text[0].upper()}{text[1:]}.", soft_wrap=True, highlight=False, markup=False)


@experiment_app.command("list")
def list_(as_json: Json = False) -> None:
    """List all experiments, newest first."""
    from ncf_pipeline.experiments import records as experiment_registry

    with serving(load_settings()) as settings:
        rows = [_as_row(settings, entry) for entry in experiment_registry.experiments(settings)]
    if as_json:
        typer.echo(json.dumps(rows))
    elif not rows:
        Console().print("There is no experiment yet. `ncf-pipeline experiment plan` shows what one would take.")
    else:
        table = Table("name", "state", "share", "since", "saw their lists", "newest result")
        for row in rows:
            seen = "" if row["exposure"] is None else f"{row['exposure']['contrast']:.1%}"
            cells = (
                row["name"],
                row["state"],
                f"{row['share']:.1%}",
                row["starts_at"][:10],
                seen,
                row["sentence"] or "",
            )
            table.add_row(*cells)
        Console().print(table)


def _as_row(settings: Settings, entry: "Experiment") -> dict[str, Any]:
    from ncf_pipeline.experiments import records as experiment_registry

    reports = experiment_registry.reports(settings, entry.number)
    exposed = experiment_registry.exposure(settings, entry.number)
    design = entry.design
    return {
        **{name: getattr(design, name) for name in ("name", "kind", "hypothesis", "share", "metric", "decides")},
        "also": list(design.also),
        "state": entry.state,
        "starts_at": design.starts_at.isoformat(),
        "ends_at": design.ends_at.isoformat() if design.ends_at is not None else None,
        "started_by": entry.started_by,
        "ended_by": entry.ended_by,
        "ended_why": entry.ended_why,
        "sentence": reports[-1].sentence if reports else None,
        "exposure": {**asdict(exposed), "contrast": exposed.contrast} if exposed is not None else None,
    }


def _plan_table(made: "Plan", metric: str, shares: Sequence["PlannedShare"]) -> Table:
    of = f" of {metric}" if made.also else ""
    table = Table(title=f"Weeks to find {made.effect:+.1%}{of} with a power of {made.power:.0%}")
    for name in (
        "share",
        "weekly looks",
        "one look",
        "weekly looks, without CUPED",
        "one look, without CUPED",
    ):
        table.add_column(name, justify="right")

    def weeks(number: int | None) -> str:
        return "-" if number is None else str(number)

    for planned in shares:
        table.add_row(
            f"{planned.share:.1%}",
            weeks(planned.weekly.weeks),
            weeks(planned.once.weeks),
            weeks(planned.weekly.weeks_without_cuped),
            weeks(planned.once.weeks_without_cuped),
        )
    return table


def _publish(settings: Settings, *, quiet: bool) -> int | None:
    from ncf_pipeline.serving.publish import refresh

    log_to_terminal(quiet=quiet)
    return refresh(settings)


def _since(number: int | None) -> str:
    return f", from publication p{number:06d} on" if number is not None else ""


def _asked(metrics: list[Metric] | None) -> list[str]:
    names = [str(metric) for metric in metrics or [Metric.AVERAGE_ORDER_VALUE]]
    if len(set(names)) < len(names):
        raise typer.BadParameter("--metric names a measure twice: name each measure once.")
    return names


def _text(option: str, text: str) -> str:
    from ncf_pipeline.experiments.design import checked_text

    return _accepted(lambda: checked_text(option, text))


def _checked_name(name: str) -> str:
    from ncf_pipeline.experiments.design import checked_name

    return _accepted(lambda: checked_name(name))


def _accepted(of: Callable[[], str]) -> str:
    """A value that is not refused; a refusal is a mistake in an option."""
    try:
        return of()
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
