"""`gate`: what the gate can tell in this shop."""

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ncf_pipeline.evaluation.power import Power

gate_app = typer.Typer(no_args_is_help=True, help="The gate that decides whether a new model may serve.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(gate_app, name="gate")


@gate_app.callback()
def _gate() -> None:
    pass


@gate_app.command("power")
def power(as_json: Json = False) -> None:
    """Show how often the gate lets equal, better and worse candidates through, for this shop's customers.

    The newest evaluation shows how many customers the holdout has, what they hit, and how much chance moves a lead.
    Candidates are simulated on it; it takes some seconds.
    """
    from ncf_pipeline.training import report as reports

    console = Console()
    waiting = Console(stderr=True).status("Simulating candidates")
    with serving(load_settings(), list_store=False) as settings, waiting:
        model, found = reports.gate_power(settings)
    if as_json:
        typer.echo(json.dumps({"version": model.version, **found.as_dict()}))
        return
    rival = "the incumbent" if found.compared_with == "incumbent" else found.compared_with.replace("_", " ")
    title = f"Of 100 candidates, so many pass; as simulated from the evaluation of {model.name}, against {rival}"
    console.print(_passing_table(found, title))
    console.print(_questions_table(found))
    if found.compared_with != "incumbent":
        console.print(
            f"No two versions have been compared yet. Chance was taken from the lead over {rival}, which varies more "
            "than a lead over another version: the gate will tell more than this.",
            highlight=False,
        )
    for question in found.questions:
        if question.cannot_tell:
            console.print(question.cannot_tell, highlight=False)


def _passing_table(found: "Power", title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("a candidate that is")
    names = [question.question for question in found.questions]
    for heading in ["both lists", *(f"{name} alone" for name in names)] if len(names) > 1 else names:
        table.add_column(heading, justify="right")
    for row in found.passing:
        shares = [row.both, *(row.alone[name] for name in names)] if len(names) > 1 else [row.both]
        table.add_row(_words(row.change), *(f"{100 * share:.0f}" for share in shares))
    return table


def _questions_table(found: "Power") -> Table:
    table = Table()
    table.add_column("")
    for heading in ("customers", f"P@{found.k}", "±, standard error", "smallest loss held 9 times in 10"):
        table.add_column(heading, justify="right")
    for each in found.questions:
        held = f"{each.smallest_held_loss:.0%}" if each.smallest_held_loss is not None else "none"
        cells = (f"{each.customers:,}", f"{each.precision_at_k:.4f}", f"{each.standard_error:.4f}", held)
        table.add_row(Text(each.question), *cells)
    return table


def _words(change: float) -> str:
    return "equal" if change == 0 else f"{abs(change):.0%} {'better' if change > 0 else 'worse'}"
