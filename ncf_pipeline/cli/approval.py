"""Who approves a version that the gate let through: a person at the terminal, or the name in `--approved-by`."""

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from ncf_pipeline.cli.options import heed_ctrl_c, user_name
from ncf_pipeline.errors import InputError, SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.approval import Answer, Ask, person


def who_approves(settings: Settings, *, approved_by: str | None, at_terminal: bool) -> Ask | None:
    """What asks for approval of a version, before anything is trained.

    Args:
        settings: `approval` is used.
        approved_by: who has approved already; they are recorded even if nobody has to approve.
        at_terminal: whether a person can be asked.

    Returns:
        None if nobody has to approve.

    Raises:
        SettingsError: a person has to approve, and none can be asked.
    """
    if approved_by is not None:
        return lambda _version, _reasons: Answer(approved=True, by=person(approved_by))
    if not settings.approval:
        return None
    if not at_terminal:
        raise SettingsError(
            "NCF_APPROVAL is on, so a person must approve the version, but this command has no terminal to ask at "
            "(or --json is set). Nothing was trained: run it at a terminal, or add --approved-by NAME."
        )
    return ask_at_terminal


def ask_at_terminal(version: int, reasons: Sequence[str]) -> Answer:
    """Shows the gate's reasons and asks for a yes or a no.

    Raises:
        InputError: the person left without an answer.
    """
    console = Console(stderr=True)
    console.print(f"The gate lets v{version} through:")
    for reason in reasons:
        console.print(Text(f"  - {reason}"))
    heed_ctrl_c()
    try:
        if typer.confirm(f"May v{version} serve?", default=None, err=True):
            return Answer(approved=True, by=person(user_name()))
        reason = typer.prompt("Why not? (Enter for no reason)", default="", show_default=False, err=True)
    except typer.Abort as error:
        raise InputError(
            f"v{version} was neither approved nor rejected. It stays a candidate, and what serves stays live. "
            f"`ncf-pipeline retrain --resume v{version}` asks again, without training."
        ) from error
    return Answer(approved=False, by=person(user_name()), reason=reason.strip() or None)
