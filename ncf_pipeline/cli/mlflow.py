"""`mlflow sync`: shows every version in MLflow."""

import json
from dataclasses import asdict

import typer
from rich.console import Console

from ncf_pipeline.cli.options import Json, log_to_terminal
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

mlflow_app = typer.Typer(help="MLflow, which shows a copy of the registry: MLFLOW_TRACKING_URI says where it is.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(mlflow_app, name="mlflow")


@mlflow_app.command("sync")
def sync(as_json: Json = False) -> None:
    """Bring MLflow to what the registry says: a run for each version, and the alias `champion`.

    Publications, rollbacks and watches do so by themselves. Run again, it changes nothing; it may be stopped at any
    point. docs/mlflow.md says what MLflow gets. Needs the extra mlflow.
    """
    from ncf_pipeline.serving import mlflow_runs

    with serving(load_settings()) as settings:
        log_to_terminal(quiet=as_json)
        synced = mlflow_runs.sync(settings)
    if as_json:
        typer.echo(json.dumps(asdict(synced)))
        return
    champion = f"v{synced.champion} is the champion" if synced.champion is not None else "no version is the champion"
    told = f"MLflow has {synced.versions:,} versions, {synced.written:,} written now; {champion}."
    Console(highlight=False).print(told)
