"""`experiment`: whether lists sell more; planned, started, measured and stopped."""

import getpass
import json
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ncf_pipeline.cli.options import Json, log_to_terminal
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # it imports pandas and SciPy, which `--help` need not wait for
    from ncf_pipeline.experiments.plan import Plan
    from ncf_pipeline.experiments.records import Experiment


class Metric(StrEnum):
    """What decides; `ncf_pipeline.experiments.measures` says what each means."""

    AVERAGE_ORDER_VALUE = "average_order_value"
    ITEMS_PER_BASKET = "items_per_basket"
    ORDERS_PER_CUSTOMER = "orders_per_customer"
    REVENUE_PER_CUSTOMER = "revenue_per_customer"
    REPEAT_RATE = "repeat_rate"


class Decides(StrEnum):
    """How often somebody looks in order to decide."""

    WEEKLY = "weekly"
    ONCE = "once"


experiment_app = typer.Typer(
    help="Whether lists sell more: experiments on customers, as docs/experiments.md says.", no_args_is_help=True
)

Effect = Annotated[float, typer.Option(min=0.001, max=3, help="The least that is worth finding: 0.05 for 5%.")]
Power = Annotated[float, typer.Option(min=0.5, max=0.99, help="The chance with which it is to be found.")]
TheMetric = Annotated[Metric, typer.Option(help="What decides.")]
Name = Annotated[str | None, typer.Argument(help="Of the experiment. Default: the newest.")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(experiment_app, name="experiment")


@experiment_app.command()
def plan(
    effect: Effect = 0.05,
    share: Annotated[
        float | None, typer.Option(min=0.001, max=0.5, help="Of the customers in the smaller group. Default: several.")
    ] = None,
    power: Power = 0.8,
    metric: TheMetric = Metric.AVERAGE_ORDER_VALUE,
    as_json: Json = False,
) -> None:
    """Say how many weeks, and what share of the customers, an effect needs to be found; changes nothing."""
    from ncf_pipeline.experiments import stages
    from ncf_pipeline.experiments.sentences import plan_in_words

    with serving(load_settings()) as settings:
        made = stages.plan(settings, effect=effect, power=power, metric=str(metric), share=share)
    if as_json:
        typer.echo(json.dumps(made.as_dict()))
        return
    console = Console()
    console.print(_plan_table(made))
    for line in plan_in_words(made):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


@experiment_app.command()
def start(
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens.")],
    hypothesis: Annotated[str, typer.Option(help="What you think is true, in a sentence.")],
    effect: Effect = 0.05,
    share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of the customers who see something else.")] = 0.05,
    challenger: Annotated[
        str | None, typer.Option(help="Show them the lists of this version (7 or v7), not best sellers.")
    ] = None,
    weeks: Annotated[int | None, typer.Option(min=2, help="After which it ends. Default: it lasts.")] = None,
    decides: Annotated[Decides, typer.Option(help="By each week's look, or by one look at the end.")] = Decides.WEEKLY,
    metric: TheMetric = Metric.AVERAGE_ORDER_VALUE,
    power: Power = 0.8,
    harm_bound: Annotated[float, typer.Option(min=0, max=1, help="How much worse off they may be, surely.")] = 0.1,
    ends_on_harm: Annotated[bool, typer.Option(help="End by itself when they are.")] = True,
    as_json: Json = False,
) -> None:
    """Start an experiment, and publish the lists of its groups at once."""
    from ncf_pipeline.experiments import records as experiment_registry
    from ncf_pipeline.experiments import stages
    from ncf_pipeline.experiments.design import Design
    from ncf_pipeline.registry.snapshots import newest_cutoff

    if decides is Decides.ONCE and weeks is None:
        raise typer.BadParameter("one look needs its time: give --weeks.")
    with serving(load_settings()) as settings:
        now = newest_cutoff(settings)
        design = Design(
            name=_checked_name(name),
            hypothesis=hypothesis,
            kind="holdout" if challenger is None else "challenger",
            share=share,
            salt=experiment_registry.new_salt(),
            starts_at=now,
            minimum_effect=effect,
            power=power,
            metric=str(metric),
            decides="once" if decides is Decides.ONCE else "weekly",
            harm_bound=harm_bound,
            ends_on_harm=ends_on_harm,
            challenger=None if challenger is None else _version_number(challenger),
            ends_at=None if weeks is None else now + timedelta(weeks=weeks),
        )
        entry = stages.start(settings, design, by=_user())
        number = _publish(settings, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"experiment": entry.design.name, "publication": number}))
    else:
        seen = design.seen_by_share
        Console().print(f"{name} runs: {share:.1%} of the customers see {seen}{_since(number)}.", highlight=False)


@experiment_app.command()
def stop(
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    name: Name = None,
    as_json: Json = False,
) -> None:
    """End an experiment, and publish everybody's own lists at once. What was found is kept."""
    from ncf_pipeline.experiments import stages

    with serving(load_settings()) as settings:
        entry = stages.stop(settings, name, by=_user(), why=reason)
        number = _publish(settings, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"experiment": entry.design.name, "publication": number}))
    else:
        Console().print(f"{entry.design.name} has ended: everybody sees lists of their own{_since(number)}.")


@experiment_app.command()
def report(name: Name = None, as_json: Json = False) -> None:
    """Measure an experiment until now, and write its report with figures to the artifact store."""
    from ncf_pipeline.experiments import report as experiment_report
    from ncf_pipeline.experiments import stages

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=True)
        look = stages.look(settings, name)
        ended = look is not None and stages.conclude(settings, look)
        number = _publish(settings, quiet=True) if ended else None
    if look is None:
        words = "Nothing was bought yet since its lists went live: there is nothing to measure."
        typer.echo(json.dumps({"figures": None})) if as_json else Console().print(words)
        return
    if as_json:
        typer.echo(json.dumps({**look.as_dict(), "ended": ended, "publication": number}))
        return
    console = Console()
    console.print(f"[bold]{look.name}[/bold]", highlight=False)
    console.print(look.sentence, soft_wrap=True, highlight=False, markup=False)
    table = Table("", "treated", "control", "in percent, 95% for one look", "95% at all looks")
    for result in look.results.measures:
        words, treated, control, _, percent, always, *_ = experiment_report.cells(result)
        table.add_row(words, treated, control, percent, always)
    console.print(table, markup=False)
    if look.results.measures:
        words = "In percent, what the groups differed by before is taken off (CUPED), and the largest values are cut."
        console.print(words, soft_wrap=True, highlight=False, markup=False)
    for line in filter(None, (look.harm, look.loss, look.mismatch)):
        console.print(f"Mind: {line}", soft_wrap=True, highlight=False, markup=False)
    if ended:
        console.print(f"The experiment has ended: {look.ends}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Report: {look.url}/{experiment_report.MARKDOWN}", soft_wrap=True, highlight=False, markup=False)


@experiment_app.command("list")
def list_(as_json: Json = False) -> None:
    """List all experiments, newest first."""
    from ncf_pipeline.experiments import records as experiment_registry

    with serving(load_settings()) as settings:
        found = [_as_row(settings, entry) for entry in experiment_registry.experiments(settings)]
    if as_json:
        typer.echo(json.dumps(found))
    elif not found:
        Console().print("There is no experiment yet: `ncf-pipeline experiment plan` says what one would need.")
    else:
        table = Table("name", "state", "share", "since", "what is said of it")
        for row in found:
            cells = (row["name"], row["state"], f"{row['share']:.1%}", row["starts_at"][:10], row["sentence"] or "")
            table.add_row(*cells)
        Console().print(table)


def _as_row(settings: Settings, entry: "Experiment") -> dict[str, Any]:
    from ncf_pipeline.experiments import records as experiment_registry

    reports = experiment_registry.reports(settings, entry.number)
    design = entry.design
    return {
        **{name: getattr(design, name) for name in ("name", "kind", "hypothesis", "share", "metric", "decides")},
        "state": entry.state,
        "starts_at": design.starts_at.isoformat(),
        "ends_at": design.ends_at.isoformat() if design.ends_at is not None else None,
        "started_by": entry.started_by,
        "ended_by": entry.ended_by,
        "ended_why": entry.ended_why,
        "sentence": reports[-1].sentence if reports else None,
    }


def _plan_table(made: "Plan") -> Table:
    table = Table(title=f"Weeks until {made.effect:+.1%} is found with a chance of {made.power:.0%}")
    for name in (
        "share",
        "looked at every week",
        "once, at the end",
        "every week without CUPED",
        "once without CUPED",
    ):
        table.add_column(name, justify="right")

    def weeks(number: int | None) -> str:
        return "-" if number is None else str(number)

    for planned in made.shares:
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
    return f", from p{number:06d} on" if number is not None else ""


def _checked_name(name: str) -> str:
    if not (name and name[0].isalpha() and len(name) <= 60 and all(c in _OF_NAMES for c in name)):
        raise typer.BadParameter(f"{name!r} is no name: small letters, digits and hyphens, a letter first.")
    return name


_OF_NAMES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def _version_number(text: str) -> int:
    digits = text.removeprefix("v")
    if not digits.isdigit():
        raise typer.BadParameter(f"{text!r} is no version: write 7 or v7.")
    return int(digits)


def _user() -> str:
    return f"command line, {getpass.getuser()}"
