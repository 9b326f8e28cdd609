"""`catalogue`: what the shop says of its products: category, brand, price, stock, launch date, image."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

_SHOWN = 20

_Codes = Annotated[list[str], typer.Argument(help="Stock codes, e.g. 85123A 22423")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    group = typer.Typer(
        help="What the shop says of its products: category, brand, price, stock, launch date, image. Optional.",
        no_args_is_help=True,
    )
    group.command()(load)
    group.command()(show)
    group.command()(refused)
    group.command()(remove)
    app.add_typer(group, name="catalogue")


def load(
    file: Annotated[str, typer.Argument(help="A path or URL: .csv, .csv.gz, .parquet or .xlsx.", metavar="FILE")],
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="The file is the whole catalogue: say which products it lacks. Default: a part of it."
        ),
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What the file calls a column, such as category=Warengruppe. May be given several times.",
            metavar="OURS=THEIRS",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a catalogue: one row a product, with any of category, brand, price, stock, launch date and image address.

    The file needs a column with the stock code; a fact for which it has no column stays as it is, and an empty cell
    empties it. It is read as files of invoices are: encoding, delimiter, decimal mark and dates by what all of it
    proves. A category may be a path, such as Kitchen > Cups.

    All rows are loaded in one transaction, but those that are wrong: each is named with its column, what is wrong and
    what to do, and kept for `ncf-pipeline catalogue refused`. The exit code is then 1. To load a file again changes
    nothing. A product that a whole catalogue lacks is named, and keeps its facts until `ncf-pipeline catalogue remove`.

    Stock of 0 takes a product out of all lists within seconds, and more brings it back. Categories count from the next
    publication on: `ncf-pipeline refresh`.
    """
    from ncf_pipeline.serving import catalogue

    columns = dict(map(_named, column or []))
    with serving(load_settings()) as settings:
        done = catalogue.load(settings, file, whole=whole, actor=user(), columns=columns)
    merged = done.merged
    if as_json:
        typer.echo(json.dumps(done.as_dict(), ensure_ascii=False))
    else:
        say = Console(highlight=False, soft_wrap=True)
        say.print(
            f"{done.source}: {merged.read:,} rows; {merged.new:,} new, {merged.changed:,} changed, "
            f"{merged.unchanged:,} as before, {merged.repeated:,} repeated, {len(merged.refused):,} refused.",
            markup=False,
        )
        say.print(f"Read: {', '.join(done.facts)}.", markup=False)
        if done.ignored:
            say.print(f"Not read: {', '.join(done.ignored)}.", markup=False)
        for note in done.notes:
            say.print(note, markup=False)
        if "stock" in done.facts:
            say.print(f"Sold out since: {done.sold_out:,}. In stock again: {done.back:,}.")
        if merged.missing:
            say.print(
                f"Missing from the whole catalogue: {len(merged.missing):,}: {_some(merged.missing)}. They keep their "
                "facts; `ncf-pipeline catalogue remove CODE` removes them.",
                markup=False,
            )
    for row in merged.refused[:_SHOWN]:
        for problem in row.problems:
            typer.echo(f"Refused: {row.where}, {problem}", err=True)
    if len(merged.refused) > _SHOWN:
        typer.echo(
            f"{len(merged.refused) - _SHOWN:,} more rows were refused: `ncf-pipeline catalogue refused`.", err=True
        )
    if merged.refused:
        raise typer.Exit(1)


def show(
    codes: Annotated[list[str] | None, typer.Argument(help="Stock codes. Default: the catalogue in numbers.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the catalogue says of products; without a code, how complete it is, and its newest loads."""
    from ncf_pipeline.serving import catalogue

    if codes:
        with serving(load_settings(), list_store=False) as settings:
            products = catalogue.products_of(settings, codes)
        if as_json:
            typer.echo(json.dumps([product.as_dict() for product in products], ensure_ascii=False))
        else:
            table = Table("code", "name", "category", "brand", "price", "stock", "launched", "image", "missing since")
            for product in products:
                cells = [str(value) if value is not None else "" for value in product.as_dict().values()]
                table.add_row(*map(Text, cells))
            Console(highlight=False).print(table)
        unknown = len({code.strip().upper() for code in codes}) - len(products)
        if unknown > 0:
            typer.echo(f"The catalogue does not have {unknown} of these products.", err=True)
            raise typer.Exit(1)
        return
    with serving(load_settings(), list_store=False) as settings:
        known = catalogue.catalogue(settings)
    if as_json:
        loads = [{**load._asdict(), "loaded_at": load.loaded_at.isoformat()} for load in known.loads]
        numbers = {
            "products": known.products,
            "with": dict(known.with_fact),
            "categories": known.categories,
            "sold_out": known.sold_out,
            "missing": known.missing,
        }
        typer.echo(json.dumps({**numbers, "loads": loads}, ensure_ascii=False))
        return
    say = Console(highlight=False, soft_wrap=True)
    if not known.loads:
        say.print("No catalogue was ever loaded: `ncf-pipeline catalogue load FILE`.")
        return
    facts = ", ".join(f"{name} of {count:,}" for name, count in known.with_fact.items())
    say.print(f"{known.products:,} products in {known.categories:,} categories: {facts}.")
    say.print(f"Sold out: {known.sold_out:,}. Missing from the newest whole catalogue: {known.missing:,}.")
    table = Table("loaded", "by", "file", "whole")
    for name in ("read", "new", "changed", "refused", "missing"):
        table.add_column(name, justify="right")
    for load in known.loads:
        counts = (load.rows_read, load.rows_new, load.rows_changed, load.rows_refused, load.products_missing)
        texts = (f"{load.loaded_at:%Y-%m-%d %H:%M}", load.loaded_by, load.source, "yes" if load.is_whole else "")
        table.add_row(*map(Text, (*texts, *(f"{count:,}" for count in counts))))
    Console(highlight=False).print(table)
    if known.loads[0].stock_waits:
        say.print("Readers have not been told of the newest stock yet: the next watch tells them.")


def refused(as_json: Json = False) -> None:
    """List the rows of the newest load that were refused: row, column, what is wrong, what to do."""
    from ncf_pipeline.serving import catalogue

    with serving(load_settings(), list_store=False) as settings:
        rows = catalogue.refused_rows(settings)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], ensure_ascii=False))
        return
    for row in rows:
        for problem in row.problems:
            typer.echo(f"{row.where}, {problem}")
    if not rows:
        typer.echo("No row of the newest load was refused.")


def remove(codes: _Codes, as_json: Json = False) -> None:
    """Remove products from the catalogue. Invoices, rules, and what is hidden or sold out stay as they are."""
    from ncf_pipeline.serving import catalogue

    with serving(load_settings(), list_store=False) as settings:
        removed = catalogue.remove(settings, codes)
    if as_json:
        typer.echo(json.dumps({"removed": removed}, ensure_ascii=False))
    else:
        typer.echo(f"Removed: {', '.join(removed)}." if removed else "The catalogue has none of them.")
    if not removed:
        raise typer.Exit(1)


def _named(text: str) -> tuple[str, str]:
    """Reads `category=Warengruppe`.

    Raises:
        typer.BadParameter: it has no name on one side; the command exits with 2.
    """
    ours, _, theirs = (part.strip() for part in text.partition("="))
    if not ours or not theirs:
        raise typer.BadParameter(f"{text!r} names no column. Write it as in category=Warengruppe.")
    return ours, theirs


def _some(codes: tuple[str, ...]) -> str:
    return ", ".join(codes[:10]) + (", ..." if len(codes) > 10 else "")
