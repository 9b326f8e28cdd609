"""`up`, `down`, `status` and `migrate`: the servers on this machine."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.demo import demo
from ncf_pipeline.cli.options import Json
from ncf_pipeline.local import serving
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password_path
from ncf_pipeline.redaction import redacted
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ncf_pipeline.local.status import Status

JsonWithPasswords = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs. Addresses include passwords.")
]


def register(app: typer.Typer) -> None:
    """Adds this module's commands and `demo`."""
    app.command()(demo)
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(migrate)


def up(
    airflow: Annotated[bool, typer.Option("--airflow/--no-airflow", help="Start Airflow too.")] = True,
    with_demo: Annotated[
        bool, typer.Option("--demo", help="Then run the demo, and leave the servers and the schedules on.")
    ] = False,
) -> None:
    """Start Postgres, Redis and Airflow on this machine, and leave them running.

    In a new home each schedule is off: the page Recommender, whose address is
    printed, says in three steps what to switch on. With --demo they are on.
    """
    from ncf_pipeline.local.services import up as start
    from ncf_pipeline.local.status import status as look

    if with_demo and not airflow:
        raise typer.BadParameter(
            "the demo needs Airflow, so it cannot be together with --no-airflow", param_hint="--demo"
        )
    console = _console()
    settings = start(load_settings(), airflow=airflow, say=console.print)
    if with_demo:
        demo(None)
    state = look(settings)
    console.print(_status_table(state))
    if state.pages_url and not with_demo:
        console.print(f"What runs by schedule, and what is off: {state.pages_url}now", markup=False)


def down() -> None:
    """Stop what `up` started."""
    from ncf_pipeline.local.services import down as stop

    stopped: list[str] = []
    stop(load_settings(), say=stopped.append)
    for line in stopped or ["Nothing was running."]:
        _console().print(line)


def status(as_json: JsonWithPasswords = False) -> None:
    """Show which servers run, where, and which publication the storefront reads."""
    from ncf_pipeline.local.status import status as look

    state = look(load_settings())
    if as_json:
        typer.echo(json.dumps(state.as_dict()))
    else:
        _console().print(_status_table(state))


def migrate(
    with_roles: Annotated[
        bool, typer.Option("--roles", help="Also create the least-privilege roles, and grant them what they need.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to the newest schema."""
    from ncf_pipeline.storage.migrations import apply_roles
    from ncf_pipeline.storage.migrations import migrate as apply

    with serving(load_settings(), list_store=False, migrated=False) as settings:
        applied = apply(settings)
        roles = apply_roles(settings) if with_roles else []
    if as_json:
        typer.echo(json.dumps({"applied": applied, **({"roles": roles} if with_roles else {})}))
    else:
        console = _console()
        for name in applied:
            console.print(f"Migration {name} applied")
        if not applied:
            console.print("The database is at the newest schema.")
        if roles:
            console.print(f"Granted: {', '.join(roles)}")


def _status_table(state: "Status") -> Table:
    table = Table(title=f"In {state.home}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("database", _without_password(state.database_url))
    table.add_row("list store", _without_password(state.redis_url))
    table.add_row("Airflow", state.airflow_url or "not running")
    if state.airflow_url:
        table.add_row("", f"user {ADMIN}, password in {admin_password_path(state.home)}")
        table.add_row("Recommender", state.pages_url or "")
    table.add_row("inbox", str(state.inbox))
    table.add_row("live publication", _publication(state))
    table.add_section()
    for name, server in state.running.items():
        table.add_row(name, f"process {server.pid}, {server.memory_mb} MB, log {server.log}")
    for name in state.died:
        table.add_row(name, Text("died: `ncf-pipeline up` restarts it", style="red"))
    return table


def _publication(state: "Status") -> str:
    if state.live_publication:
        return state.live_publication
    if state.list_store_answers is None:
        return "unknown: the list store does not run"
    return "none yet" if state.list_store_answers else "unknown: the list store does not answer"


def _without_password(url: str | None) -> str:
    if url is None:
        return "not running"
    return redacted(url)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
