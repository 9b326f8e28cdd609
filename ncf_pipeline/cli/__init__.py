"""The command line `ncf-pipeline`. Each module holds a group of commands; this one combines them."""

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from ncf_pipeline import __version__
from ncf_pipeline.cli import (
    alerts,
    campaigns,
    catalogue,
    changes,
    embeddings,
    events,
    experiments,
    forget,
    gate,
    hiding,
    invoices,
    mlflow,
    models,
    products,
    rules,
    serve,
    services,
    storefront,
    watch,
)
from ncf_pipeline.cli import recommendations as lists
from ncf_pipeline.errors import NcfError

app = typer.Typer(
    help="Product recommendations for an online shop: invoices in, a gated model, lists in Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
services.register(app)
invoices.register(app)
models.register(app)
embeddings.register(app)
mlflow.register(app)
gate.register(app)
lists.register(app)
campaigns.register(app)
catalogue.register(app)
hiding.register(app)
products.register(app)
changes.register(app)
events.register(app)
rules.register(app)
experiments.register(app)
forget.register(app)
storefront.register(app)
serve.register(app)
alerts.register(app)
watch.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line. Exit codes: 0, 1 (failed; one line says why and what to do) or 2 (wrong usage)."""
    if not os.environ.get("NCF_ARTIFACTS_URL"):  # others may have a share in a store of your own
        os.umask(0o077)
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's
            from ncf_pipeline.training import distributed

            distributed.run(app)
        else:
            app()
    except NcfError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]Error:[/red] {_escape(str(error))}")
        sys.exit(1)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
