"""The command `mapping`: says once how a shop's files look, so that nobody renames a column by hand."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.errors import InputError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings

Name = Annotated[str, typer.Argument(help="As `mapping list` shows it.", metavar="NAME")]

mapping_app = typer.Typer(
    no_args_is_help=True,
    help="Say once how a shop's files look: which column is which, whose clock and currency, which lines count.",
)


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(mapping_app, name="mapping")


@mapping_app.command("list")
def list_(as_json: Json = False) -> None:
    """List the mappings: those that come with the package, and those that people saved."""
    from ncf_pipeline.ingest.inbox import files_by_folder
    from ncf_pipeline.ingest.mappings.store import every_mapping

    with serving(load_settings(), list_store=False) as settings:
        mappings = every_mapping(settings)
    waiting = files_by_folder(settings.inbox_path)
    if as_json:
        typer.echo(json.dumps([{**each.as_dict(), "files_waiting": waiting.get(each.name, 0)} for each in mappings]))
        return
    table = Table("name", "from", "files in its folder of the inbox")
    for each in mappings:
        saved = f"{each.saved_by}, {each.saved_at:%Y-%m-%d %H:%M}" if each.saved_at else "the package"
        table.add_row(each.name, Text(saved), f"{waiting.get(each.name, 0):,}")
    console = Console()
    console.print(table)
    for name in sorted(set(waiting) - {each.name for each in mappings}):
        console.print(
            f"{waiting[name]:,} files wait in the inbox's folder {name!r}, which has no mapping.",
            markup=False, highlight=False,
        )  # fmt: skip


@mapping_app.command()
def show(
    name: Name,
    batch: Annotated[int | None, typer.Option(help="As it was when it read files of this batch.")] = None,
    as_json: Json = False,
) -> None:
    """Print a mapping as YAML. Write it into a file to edit it: mapping show shopify > mine.yaml."""
    from ncf_pipeline.ingest.mappings.store import named, used_by_batch

    with serving(load_settings(), list_store=False) as settings:
        mapping = named(settings, name) if batch is None else None
        texts = [mapping.yaml] if mapping is not None else used_by_batch(settings, name, batch or 0)
    if as_json:
        about = mapping.as_dict() if mapping is not None else {"name": name, "batch": batch}
        typer.echo(json.dumps({**about, "yaml": "---\n".join(texts)}))
    else:
        typer.echo("---\n".join(texts), nl=False)


@mapping_app.command()
def save(
    file: Annotated[Path, typer.Argument(help="The mapping, as YAML; see docs/mappings.md.", metavar="FILE.yaml")],
    as_json: Json = False,
) -> None:
    """Store a mapping under the name in it, and make its folder in the inbox.

    It takes the place of one of the same name: also of a ready one. What it replaces stays in the history.
    """
    from ncf_pipeline.ingest.mappings.mapping import MAX_YAML

    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_YAML + 1).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}. Correct the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text in UTF-8. Is it the mapping's YAML?") from error
    with serving(load_settings(), list_store=False) as settings:
        _save(settings, text, as_json=as_json)


@mapping_app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove a mapping that was saved. A ready one of the same name reads files again."""
    from ncf_pipeline.ingest.inbox import files_by_folder
    from ncf_pipeline.ingest.mappings.store import remove as remove_mapping

    with serving(load_settings(), list_store=False) as settings:
        ready = remove_mapping(settings, name, removed_by=user())
    waiting = files_by_folder(settings.inbox_path).get(name, 0)
    folder = settings.inbox_path / name
    if ready is None and not waiting:
        with suppress(OSError):  # it may hold hidden files, or never have existed
            folder.rmdir()
    if as_json:
        typer.echo(json.dumps({"removed": name, "ready": ready is not None, "files_waiting": waiting}))
        return
    typer.echo(f"{name} is removed." + (" The ready mapping of this name reads files from now on." if ready else ""))
    if waiting and ready is None:
        typer.echo(f"{waiting:,} files wait in {folder}. Nothing reads them until there is a mapping {name} again.")


def _save(settings: Settings, text: str, *, as_json: bool) -> None:
    from ncf_pipeline.ingest.mappings.store import save as save_mapping

    stored, before = save_mapping(settings, text, saved_by=user())
    folder: Path | None = settings.inbox_path / stored.name
    try:
        settings.inbox_path.joinpath(stored.name).mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = None  # the inbox may be on another machine
    if as_json:
        replaced = before.as_dict() if before is not None else None
        typer.echo(json.dumps({**stored.as_dict(), "folder": str(folder) if folder else None, "replaced": replaced}))
        return
    console = Console(soft_wrap=True)
    console.print(f"{stored.name} is saved.", highlight=False)
    if before is not None:
        console.print(
            f"It takes the place of the one that {before.saved_by} saved on {before.saved_at:%Y-%m-%d at %H:%M}.",
            markup=False, highlight=False,
        )  # fmt: skip
    where = str(folder) if folder else f"the folder {stored.name} of the inbox (make it by hand)"
    console.print(
        f"Put such files into {where}, or run: ncf-pipeline ingest --mapping {stored.name} FILE",
        markup=False, highlight=False,
    )  # fmt: skip
