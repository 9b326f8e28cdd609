"""`embeddings`: a version's vectors of customers and products."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ncf_pipeline.cli.options import Json, log_to_terminal, version_number
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(embeddings)


def embeddings(
    to: Annotated[
        Path,
        typer.Option(
            help="Folder for customers.parquet and products.parquet. Erase it yourself: `forget` does not know it.",
            metavar="DIR",
            file_okay=False,
        ),
    ],
    version: Annotated[
        str | None, typer.Argument(help="7 or v7. Default: the version that serves.", metavar="[V]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a version's embeddings of customers and products as Parquet.

    A customer has one vector, as of the newest purchases; a product has three, for dot products. customer ·
    for_you and customer · discover are the network's part of the scores that is taste alone, without the context of a
    purchase and without trees; similar · similar is the cosine that orders the lists `similar`.
    docs/embeddings.md says more. Version 0 counts and has no network.
    """
    from ncf_pipeline.serving.embeddings import write_embeddings

    chosen = version_number(version) if version is not None else None
    with serving(load_settings()) as settings:
        log_to_terminal(quiet=as_json)
        written = write_embeddings(settings, to, chosen)
    if as_json:
        typer.echo(json.dumps(asdict(written), default=str))
        return
    Console(soft_wrap=True).print(
        f"Wrote {written.customers:,} customers and {written.products:,} products of v{written.version} to {to}, as of "
        f"{written.as_of:%Y-%m-%d %H:%M}.",
        highlight=False,
        markup=False,
    )
