"""The command `rules`: what a merchandiser's page does, in a terminal."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # the command line starts without their libraries
    from ncf_pipeline.serving.rules.changes import Change
    from ncf_pipeline.serving.rules.previews import Result

Code = Annotated[str, typer.Argument(help="The product's stock code, e.g. 85123A.", metavar="CODE")]
Until = Annotated[str, typer.Option(help="The first day without the rule, as 2026-12-24. Default: no end.")]
Note = Annotated[str, typer.Option(help="A note that stays with the rule.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Preview = Annotated[bool, typer.Option("--preview", help="Say what it would do to the lists, and save nothing.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Save it although it matches nothing yet.")]

rules_app = typer.Typer(
    no_args_is_help=True,
    help="What lists leave out, show in some countries only, and have on top: see it, check it, change it, undo it.",
)


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(rules_app, name="rules")


@rules_app.command("list")
def list_(
    product: Annotated[str | None, typer.Option(help="Only the rules of this stock code.")] = None,
    as_json: Json = False,
) -> None:
    """List every rule and the limits."""
    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import canonical

    with serving(load_settings(), list_store=False) as settings:
        rules = [rule for rule in changes.rules(settings) if product is None or canonical(product) in rule.products]
        limits = changes.limits(settings)
    if as_json:
        typer.echo(
            json.dumps({"rules": [rule.as_dict() for rule in rules], "limits": vars(limits)}, ensure_ascii=False)
        )
        return
    table = Table("product", "rule", "where", "days", "note")
    today = _today()
    for rule in rules:
        place = f"{rule.list_name}, place {rule.position}; " if rule.position else ""
        where = place + (f"beside {rule.beside}" if rule.beside else ", ".join(rule.countries) or "everywhere")
        days = " ".join(
            [
                *([f"from {rule.starts_on}"] if rule.starts_on else []),
                *([f"until {rule.ends_on}"] if rule.ends_on else []),
            ]
        )
        table.add_row(
            Text(rule.stock_code),
            rule.kind,
            Text(where),
            days + (" (over)" if rule.is_over(today) else ""),
            Text(rule.note or ""),
        )
    console = Console()
    if rules:
        console.print(table)
    else:
        console.print("There are no rules.")
    family = "any number" if limits.max_per_family is None else limits.max_per_family
    price = "none" if limits.min_price is None else f"{limits.min_price:.2f}"
    console.print(f"Variants of one product in a list: {family}. Lowest price: {price}.")


@rules_app.command()
def check(as_json: Json = False) -> None:
    """Say which rules match nothing or cannot have their effect. Exit code 1 if there are any."""
    from dataclasses import asdict

    from ncf_pipeline.serving.rules.checks import findings

    with serving(load_settings(), list_store=False) as settings:
        found = findings(settings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], ensure_ascii=False))
    else:
        for finding in found:
            typer.echo(str(finding))
        if not found:
            typer.echo("Every rule does what it says.")
    if found:
        raise typer.Exit(1)


@rules_app.command()
def hide(
    code: Code,
    why: Annotated[
        Literal["hidden", "out of stock", "discontinued"], typer.Option(help="What the product is.")
    ] = "hidden",
    until: Until = "",
    note: Note = "",
    reason: Reason = "",
    anyway: Anyway = False,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Leave a product out of every list."""
    written: dict[str, str | Sequence[str]] = {"rule": why, "stock_code": code, "until": until, "note": note}
    _put(written, reason, anyway=anyway, preview=preview, as_json=as_json)


@rules_app.command("only-in")
def only_in(
    code: Code,
    countries: Annotated[list[str], typer.Argument(help="Countries, as invoices write them.", metavar="COUNTRY...")],
    reason: Reason = "",
    anyway: Anyway = False,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Show a product only in lists for these countries."""
    written: dict[str, str | Sequence[str]] = {"rule": "only in", "stock_code": code, "countries": countries}
    _put(written, reason, anyway=anyway, preview=preview, as_json=as_json)


@rules_app.command()
def pin(
    code: Code,
    list_name: Annotated[
        Literal["for_you", "discover", "new_arrivals"] | None,
        typer.Option("--list", help="In which list. Default: for_you.", show_default=False),
    ] = None,
    beside: Annotated[
        str, typer.Option(help="In the list bought_together of this stock code instead.", metavar="CODE")
    ] = "",
    country: Annotated[str, typer.Option(help="Only in lists for this country. Default: for everyone.")] = "",
    position: Annotated[str, typer.Option(help="The place in the list, from 1.")] = "1",
    begins: Annotated[str, typer.Option("--from", help="The first day, as 2026-12-01. Default: today.")] = "",
    until: Until = "",
    note: Note = "",
    reason: Reason = "",
    anyway: Anyway = False,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Put a product at a place of every list of a name, or of what is bought together with another product."""
    written: dict[str, str | Sequence[str]] = {
        "rule": "pinned beside" if beside else "pinned",
        "stock_code": code,
        "beside": beside,
        "list": list_name or "",
        "countries": country,
        "position": position,
        "from": begins,
        "until": until,
        "note": note,
    }
    _put(written, reason, anyway=anyway, preview=preview, as_json=as_json)


@rules_app.command()
def remove(code: Code, reason: Reason = "", preview: Preview = False, as_json: Json = False) -> None:
    """Remove all rules of a product."""
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import canonical, reason_of

    with serving(load_settings(), list_store=False) as settings:
        keys = tuple(rule.key for rule in changes.rules(settings) if rule.stock_code == canonical(code))
        if not keys:
            raise InputError(f"{canonical(code)} has no rule. `ncf-pipeline rules list` shows all.")
        made = _made(settings, changes.Change(remove=keys), reason_of(reason), preview=preview)
    _tell(made, as_json=as_json)


@rules_app.command()
def limit(
    variants: Annotated[str, typer.Option(help="Most variants of one product in a list; none: no limit.")] = "",
    price: Annotated[str, typer.Option(help="Lowest price of one piece, as 0.50; none: no limit.")] = "",
    reason: Reason = "",
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Set the limits of every list. What is not given stays."""
    from dataclasses import replace

    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import parsed_limits, reason_of

    if not variants and not price:
        raise typer.BadParameter("give --variants, --price or both")
    given = {"max_per_family": variants, "min_price": price}
    wanted = parsed_limits({name: "" if text == "none" else text for name, text in given.items()})
    with serving(load_settings(), list_store=False) as settings:
        new = changes.limits(settings)
        if variants:
            new = replace(new, max_per_family=wanted.max_per_family)
        if price:
            new = replace(new, min_price=wanted.min_price)
        made = _made(settings, changes.Change(limits=new), reason_of(reason), preview=preview)
    _tell(made, as_json=as_json)


@rules_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, as `rules export` writes it.", metavar="FILE.csv")],
    replace: Annotated[bool, typer.Option("--replace", help="Remove the rules that are not in the file.")] = False,
    reason: Reason = "",
    anyway: Anyway = False,
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Save the rules of a CSV file: all of them, or none if a row is wrong."""
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.serving.rules import changes, files
    from ncf_pipeline.serving.rules.values import reason_of

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    with serving(load_settings(), list_store=False) as settings:
        put = tuple(files.read(settings, content, today=_today(), anyway=anyway))
        change = changes.Change(put=put, replaces_all=replace)
        made = _made(settings, change, reason_of(reason), preview=preview)
    _tell(made, as_json=as_json)


@rules_app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The CSV file to write.", metavar="FILE.csv")], as_json: Json = False
) -> None:
    """Write every rule that is not over to a CSV file, for a spreadsheet and `rules import`."""
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.serving.rules import changes, files

    with serving(load_settings(), list_store=False) as settings:
        rules = changes.rules(settings)
    try:
        # The mark at the beginning tells Excel that it is UTF-8.
        file.write_text(files.written(rules, today=_today()), encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.") from error
    written = sum(not rule.is_over(_today()) for rule in rules)
    typer.echo(
        json.dumps({"file": str(file), "rules": written}) if as_json else f"{written:,} rules written to {file}."
    )


@rules_app.command()
def history(
    product: Annotated[str | None, typer.Option(help="Only changes of this stock code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List who changed which rule, when and why."""
    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import canonical

    with serving(load_settings(), list_store=False) as settings:
        made = changes.history(settings, stock_code=canonical(product) if product else None, most=limit)
    if as_json:
        typer.echo(json.dumps([change.as_dict() for change in made], ensure_ascii=False))
        return
    if not made:
        typer.echo("Nobody has changed a rule yet.")
        return
    table = Table("change", "when", "who", "what", "why")
    for change in made:
        marks = [f"undoes {change.undoes}"] if change.undoes else []
        marks += [f"undone by {change.undone_by}"] if change.undone_by else []
        more = [f"{change.changed_rows:,} rows in all"] if change.changed_rows > len(change.words) else []
        table.add_row(
            str(change.change_id),
            f"{change.changed_at:%Y-%m-%d %H:%M}",
            Text(change.actor),
            Text("\n".join([*change.words, *more, *marks])),
            Text(change.reason or ""),
        )
    Console().print(table)


@rules_app.command()
def undo(
    change: Annotated[int, typer.Argument(help="Number of the change, as `rules history` shows it.", metavar="CHANGE")],
    reason: Reason = "",
    preview: Preview = False,
    as_json: Json = False,
) -> None:
    """Make the rules that a change changed what they were before it."""
    from ncf_pipeline.serving.rules import changes, previews
    from ncf_pipeline.serving.rules.values import reason_of

    made: int | Result | None
    with serving(load_settings(), list_store=False) as settings:
        if preview:
            made = previews.compute(settings, changes.undoing(settings, change))
        else:
            made = changes.undo(settings, change, actor=user(), reason=reason_of(reason))
    _tell(made, as_json=as_json)


def _put(written: dict[str, str | Sequence[str]], reason: str, *, anyway: bool, preview: bool, as_json: bool) -> None:
    """Saves one rule, or says what it would do; refuses one that would match nothing."""
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import known, parsed, reason_of

    rule = parsed(written, today=_today())
    with serving(load_settings(), list_store=False) as settings:
        doubts = [] if anyway else known(settings, rule.products).doubts(rule)
        if doubts:
            raise InputError(f"{' '.join(doubts)} Nothing is saved. --anyway saves it all the same.")
        made = _made(settings, changes.Change(put=(rule,)), reason_of(reason), preview=preview)
    _tell(made, as_json=as_json)


def _made(settings: Settings, change: "Change", reason: str | None, *, preview: bool) -> "int | Result | None":
    """Makes a change, or says what it would do; None if everything is so already."""
    from ncf_pipeline.serving.rules import changes, previews

    if preview:
        return previews.compute(settings, change)
    return changes.apply(settings, change, actor=user(), reason=reason)


def _tell(made: "int | Result | None", *, as_json: bool) -> None:
    if made is not None and not isinstance(made, int):
        typer.echo(json.dumps(made.as_dict(), ensure_ascii=False) if as_json else "\n".join(made.sentences()))
        if not as_json:
            typer.echo("Nothing was saved.")
    elif as_json:
        typer.echo(json.dumps({"change": made}))
    elif made is None:
        typer.echo("It was so already. Nothing was changed.")
    else:
        typer.echo(
            f"Saved as change {made}. `ncf-pipeline refresh` shows it to shoppers; `rules undo {made}` undoes it."
        )


def _today() -> date:
    return datetime.now(UTC).date()
