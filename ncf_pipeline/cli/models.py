"""The commands `retrain`, `refresh`, `evaluate`, `models`, `rollback` and `prune`."""

import json
import uuid
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ncf_pipeline.cli import rendering as tables
from ncf_pipeline.cli.approval import who_approves
from ncf_pipeline.cli.options import Json, at_terminal, log_to_terminal, user, version_number
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ncf_pipeline.registry.versions import RecentRetrain
    from ncf_pipeline.training.report import RetrainSummary

Cutoff = Annotated[
    datetime | None,
    typer.Option(
        help="First instant that the model does not see. Default: just after the newest invoice.",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
    ),
]
HoldoutDays = Annotated[int | None, typer.Option(min=1, max=365, help="Days before the cutoff to evaluate on.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Random seed of training.")]

models_app = typer.Typer(
    help="The model registry: all versions, what they were trained on, and why they serve or are held."
)


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(retrain)
    app.command()(refresh)
    app.command()(evaluate)
    app.add_typer(models_app, name="models")
    app.command()(rollback)
    app.command()(prune)


def retrain(
    cutoff: Cutoff = None,
    holdout_days: HoldoutDays = None,
    k: Annotated[int | None, typer.Option(min=1, max=100, help="Depth of Precision@K.")] = None,
    top_n: Annotated[int | None, typer.Option(min=1, max=200, help="Length of a served list.")] = None,
    seed: Seed = None,
    approved_by: Annotated[
        str | None,
        typer.Option(
            help="Who has approved the version, as recorded with it. If NCF_APPROVAL is on, nobody is asked then.",
            metavar="NAME",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Ask again for approval of a version that was neither approved nor rejected, and publish it. "
            "Trains nothing.",
            metavar="V",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a candidate, evaluate it, and serve it if the gate lets it through.

    The stages and their order are those of the DAG `retrain_recommender`:
    snapshot, live performance, backtest, gate, refit, register, prepare, score,
    publish.

    If NCF_APPROVAL is on, a person must approve a version that passed the gate.
    At a terminal, the command shows the gate's reasons and asks.
    Elsewhere, or with --json, it fails before it trains unless --approved-by is
    given.
    """
    from ncf_pipeline.registry import versions as registry
    from ncf_pipeline.training import report as reports
    from ncf_pipeline.training import retrain as stages

    given = _given(holdout_days=holdout_days, k=k, top_n=top_n, seed=seed)
    if resume is not None and (cutoff is not None or given):
        raise typer.BadParameter("--resume trains nothing, so it takes no cutoff, holdout, K, top N or seed.")
    settings = load_settings(**given)
    ask = who_approves(settings, approved_by=_name(approved_by), at_terminal=at_terminal() and not as_json)
    with serving(settings) as running:
        log_to_terminal(quiet=as_json)
        if resume is not None:
            outcome = stages.finish(running, version_number(resume), ask=ask)
        else:
            outcome = stages.run(running, cutoff, run_key=f"command:{uuid.uuid4()}", requested_by=user(), ask=ask)
        summary = reports.retrain_summary(running, outcome.version)
        serves = registry.what_serves(running)
    if as_json:
        typer.echo(json.dumps({**summary.as_dict(), "publication": outcome.publication}))
        return
    _print_version(summary)
    if outcome.publication is None:
        Console().print(f"v{outcome.version} is held; {serves}.", highlight=False)
    else:
        Console().print(f"Publication p{outcome.publication:06d} is live.")


def refresh(as_json: Json = False) -> None:
    """Publish new lists of the champion, from the newest purchases. Trains nothing.

    Until a model has been promoted, version 0 serves: the baselines, which count
    and need no training.
    """
    from ncf_pipeline.registry import versions as registry
    from ncf_pipeline.serving.publish import refresh as refresh_stage

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=as_json)
        number = refresh_stage(settings, requested_by=user())
        serves = registry.what_serves(settings) if number is not None else ""
    if as_json:
        typer.echo(json.dumps({"publication": number}))
    elif number is None:
        Console().print(
            "There are no purchases yet, so nothing was published. Load invoices with `ncf-pipeline ingest FILE`."
        )
    else:
        Console().print(f"Publication p{number:06d} is live; {serves}.", highlight=False)


def evaluate(
    cutoff: Cutoff = None,
    holdout_days: HoldoutDays = None,
    seed: Seed = None,
    cohorts: Annotated[bool, typer.Option("--cohorts", help="Also show groups of customers.")] = False,
    peers: Annotated[
        bool, typer.Option(help="Also train other models: kNN, EASE, iALS, boosted trees, their stack, SASRec, ...")
    ] = True,
    variety: Annotated[
        bool, typer.Option("--variety", help="Also show what limits on variety and the order by value would cost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train the recipe as a backtest, and compare it with baselines and other models.

    Shows 95% intervals. Nothing that serves changes.
    A customer who was new in the holdout is scored by the best sellers that a
    storefront shows them. "P@K known" leaves these customers out.
    The other models take minutes more, most of all boosted trees.
    A wide terminal shows more metrics, and --json shows all of them.
    With --variety, the last tables have a line for each of several values of
    NCF_VARIETY_FAMILY, NCF_VARIETY_CATEGORY and NCF_VARIETY_REPEAT, each alone,
    and for NCF_ORDER=value. They are over known customers.
    """
    from ncf_pipeline.training.evaluate import evaluate as evaluate_stage

    with serving(load_settings(**_given(holdout_days=holdout_days, seed=seed))) as settings:
        log_to_terminal(quiet=as_json)
        result = evaluate_stage(settings, cutoff, peers=peers, variety=variety)
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
        return
    title = f"Holdout {result.holdout_start:%Y-%m-%d} to {result.cutoff:%Y-%m-%d}, 95% intervals over customers"
    Console().print(tables.evaluation_table(result.scores, title=title, cohorts=cohorts, intervals=True))
    for table in tables.price_tables(result.prices):
        Console().print(table)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List all model versions, newest first, each with its Precision@K beside the best baseline's."""
    if context.invoked_subcommand is not None:
        return
    from ncf_pipeline.registry import versions as registry

    with serving(load_settings()) as settings:
        versions = registry.model_versions(settings)
        answers = registry.recent_retrains(settings, count=len(versions))
    quality = {row.version: row for row in answers if row.question == "for_you"}
    if as_json:
        typer.echo(json.dumps([_as_json(vars(model)) | _quality(quality.get(model.version)) for model in versions]))
    elif versions:
        Console().print(tables.versions_table(versions, quality))
    else:
        Console().print(
            "There is no version yet. `ncf-pipeline ingest FILE` publishes version 0 (baselines), and "
            "`ncf-pipeline retrain` trains the first model."
        )


@models_app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="7 or v7; 0 for the baselines", metavar="V")],
    as_json: Json = False,
) -> None:
    """Show a version: its evaluation, the gate's decision with its reasons, and its live performance."""
    from ncf_pipeline.training import report as reports

    with serving(load_settings()) as settings:
        summary = reports.retrain_summary(settings, version_number(version))
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        _print_version(summary)


def rollback(
    version: Annotated[
        str | None,
        typer.Argument(help="7 or v7; 0 for the baselines. Default: the version that served before.", metavar="[V]"),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the registry.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an earlier version again, at once."""
    from ncf_pipeline.serving.rollback import rollback as rollback_stage

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=as_json)
        chosen = version_number(version) if version is not None else None
        result = rollback_stage(settings, chosen, actor=user(), reason=reason)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
    else:
        title = "Version 0 (baselines)" if result.version == 0 else f"v{result.version}"
        Console().print(f"{title} serves again, as publication p{result.publication:06d}.", highlight=False)


def prune(as_json: Json = False) -> None:
    """Remove models, snapshots, lists and unfinished parts that nobody needs from the artifact store."""
    from ncf_pipeline.serving.prune import prune as prune_stage

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=as_json)
        removed = prune_stage(settings)
    if as_json:
        typer.echo(json.dumps(asdict(removed)))
    else:
        Console().print("Removed: " + ", ".join(f"{count} {name}" for name, count in asdict(removed).items()) + ".")


def _name(text: str | None) -> str | None:
    """A person's name on one line."""
    if text is None:
        return None
    name = " ".join(text.split())
    if not name:
        raise typer.BadParameter("--approved-by needs a name.")
    return name


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _quality(row: "RecentRetrain | None") -> dict[str, Any]:
    names = ("k", "precision_at_k", "precision_low", "precision_high", "baseline", "best_baseline")
    return {name: None if row is None else getattr(row, name) for name in names}


def _print_version(summary: "RetrainSummary") -> None:
    console = Console()
    model = summary.model
    if model.version == 0:
        console.print(tables.version_0_lines(model))
    else:
        title = f"{model.name}, evaluated on {model.holdout_start:%Y-%m-%d} to {model.cutoff:%Y-%m-%d}"
        console.print(tables.evaluation_table(summary.evaluation, title=title, intervals=True))
        console.print(tables.decision_lines(summary.decision, model.version))
    if summary.live:
        console.print(tables.live_table(summary.live))
    if summary.periods:
        console.print(tables.periods_table(summary.periods))
