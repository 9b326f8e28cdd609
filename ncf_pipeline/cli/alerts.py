"""`alerts`: show incidents, and test the channels to on-call."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json
from ncf_pipeline.errors import SettingsError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

alerts_app = typer.Typer(no_args_is_help=True, help="Show incidents, and test the channels to on-call.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(alerts_app, name="alerts")


@alerts_app.command("list")
def list_(
    over_too: Annotated[bool, typer.Option("--all", help="Also show past incidents and events.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, help="The largest number to show.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what is broken, newest first. With --json, `runs` names the runs of Airflow that an incident is about."""
    from ncf_pipeline.alerts import incidents
    from ncf_pipeline.alerts.messages import instant

    with serving(load_settings(), list_store=False) as settings:
        rows = incidents(settings, over_too=over_too, most=most)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], default=lambda value: value.isoformat()))
        return
    if not rows:
        typer.echo("There were no incidents." if over_too else "Nothing is broken.")
        return
    console = Console()
    table = Table("", "since", "times", "what", "until")
    for row in rows:
        until = instant(row.closed_at) if row.closed_at else "" if row.lasts else "at once"
        table.add_row(row.severity, instant(row.since), f"{row.times:,}", Text(row.title), until)
    console.print(table)


@alerts_app.command("test")
def test() -> None:
    """Send a test message to every channel of NCF_ALERTS, and show which ones got it."""
    from ncf_pipeline.alerts import Alert, Severity, channels, deliver
    from ncf_pipeline.alerts.kinds import TRY_OUT

    settings = load_settings()
    if not channels(settings):
        raise SettingsError("NCF_ALERTS names no channel, so alerts appear only in task logs. Set it and try again.")
    alert = Alert(TRY_OUT, "test", "This is only a test.")
    body = alert.body(settings.runbook_url)
    # The most urgent severity, which every channel receives.
    reasons = deliver(settings, Severity.PAGE, f"[test] {alert.what}", body, notify_type="info")
    for channel, reason in reasons.items():
        typer.echo(f"{channel}: {reason or 'sent'}")
    if any(reasons.values()):
        raise SettingsError("A channel of NCF_ALERTS did not get the message: correct its URL and try again.")
