"""The command `mapping`: says once how a shop's files look, so that nobody renames a column by hand."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.new_mapping import ask, ask_encoding, name_for, show_first_lines, show_proposal
from ncf_pipeline.cli.options import Json, at_terminal, user
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


@mapping_app.command()
def new(
    file: Annotated[Path, typer.Argument(help="A file of the shop: .xlsx, .csv, .csv.gz or .parquet.", metavar="FILE")],
    name: Annotated[
        str | None,
        typer.Option(help="What to call it: small letters, digits, _ and -, up to 40. Default: after the file."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the YAML here instead of storing it.")] = None,
    store: Annotated[bool, typer.Option("--save", help="Store it without a question, if nothing is open.")] = False,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a text file, such as cp1251, if the file does not prove it.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: write the YAML, with comments, for you to edit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at a file and propose a mapping, column by column; ask only what the file cannot tell.

    It finds columns by their names in English, German, French or Spanish, and by what the cells look like. It reads
    the first 20,000 rows. At a terminal it asks, shows the first lines as they would land, and stores the mapping.
    Without one, or with --yes, it writes the YAML to edit.
    """
    if output is not None and store:
        raise typer.BadParameter("use --output or --save, not both", param_hint="--output")
    if name is not None:
        _check_name(name)
    asks = at_terminal() and not yes and not as_json
    with serving(load_settings(), list_store=False) as settings:
        try:
            made = _make(settings, file, name=name, encoding=encoding, asks=asks, quiet=as_json)
            if made is not None:
                _keep(settings, made, output, store=store, asks=asks, as_json=as_json)
        except (typer.Abort, KeyboardInterrupt) as error:
            raise InputError("You left, so nothing was stored. Run the command again to start over.") from error


@dataclass(frozen=True)
class _Made:
    """A mapping that was made of a file."""

    file: Path
    name: str
    yaml: str
    open: tuple[str, ...]


def _make(
    settings: Settings, file: Path, *, name: str | None, encoding: str | None, asks: bool, quiet: bool
) -> _Made | None:
    """Proposes a mapping and asks about it; returns None if a mapping reads such files already."""
    from ncf_pipeline.ingest.mappings.store import readable
    from ncf_pipeline.ingest.proposals.propose import like, proposed
    from ncf_pipeline.ingest.proposals.recognise import has_our_columns, looks_like
    from ncf_pipeline.ingest.proposals.sample import sampled
    from ncf_pipeline.ingest.proposals.writing import add_statuses, as_yaml, open_questions
    from ncf_pipeline.storage.database import transaction

    encoding = _encoding_of(settings, file, encoding, asks=asks)
    with sampled(file, max_unpacked_mb=settings.max_unpacked_mb, encoding=encoding) as beginning:
        proposal = max(map(proposed, beginning.samples), key=lambda each: (len(each.columns), len(each.sample.rows)))
        rows = [list(proposal.sample.names)]
        with transaction(settings) as connection:
            known = looks_like(rows, readable(connection))
        is_ours = has_our_columns(rows)
        if is_ours:
            known = None
        # Our own columns may still need a mapping, such as one that fills down.
        if known is not None or (is_ours and not proposal.said):
            if name is None or not quiet:
                _say_known(file, known.name if known is not None else None, as_json=quiet)
            if name is None and not (asks and typer.confirm("Make another one all the same?", default=False)):
                return None
            if known is not None:
                proposal = like(proposal.sample, known)
        if encoding is not None:
            proposal.said["encoding"] = encoding
        if "status" not in proposal.said:
            add_statuses(proposal)
        if not quiet:
            show_proposal(proposal)
        if asks:
            ask(proposal, settings)
            name = name or _ask_name(settings, name_for(file))
            show_first_lines(settings, beginning, proposal, name)
        name = name or name_for(file)
        undecided = () if asks else tuple(open_questions(proposal))
        if proposal.missing:
            undecided = (f"columns: none found for {', '.join(proposal.missing)}", *undecided)
        return _Made(file, name, as_yaml(proposal, name, asked=asks), undecided)


def _keep(settings: Settings, made: _Made, output: Path | None, *, store: bool, asks: bool, as_json: bool) -> None:
    """Stores what was made, or writes it into a file."""
    # Until the others are decided, each file proves what it means, or is refused.
    first = [each for each in made.open if each.startswith("columns:") or " wait" in each]
    if store and first:
        raise InputError(
            f"Nothing was stored, because this has to be decided first: {first[0]}. Run it without --save."
        )
    if store or (asks and output is None and typer.confirm(f"Store it as {made.name}?", default=True)):
        _save(settings, made.yaml, as_json=as_json)
        return
    path = output if output is not None else Path(f"{made.name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(made.yaml)
    except FileExistsError as error:
        raise InputError(f"{path} is there already. Name another file with --output.") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Name another file with --output."
        ) from error
    if as_json:
        typer.echo(json.dumps({"name": made.name, "file": str(path), "yaml": made.yaml, "open": list(made.open)}))
        return
    console = Console(soft_wrap=True)
    console.print(f"{path} is written.", markup=False, highlight=False)
    for question in made.open:
        console.print(f"  to decide: {question}", markup=False, highlight=False)
    console.print(f"Check and edit it. Then: ncf-pipeline mapping save {path}", markup=False, highlight=False)


def _encoding_of(settings: Settings, file: Path, encoding: str | None, *, asks: bool) -> str | None:
    """The encoding that a person has named, or names now; None if the file proves its own."""
    from ncf_pipeline.ingest.proposals.sample import sampled
    from ncf_pipeline.ingest.readers.encodings import EncodingError

    try:
        if file.name.lower().endswith((".csv", ".csv.gz")):
            with sampled(file, max_unpacked_mb=settings.max_unpacked_mb, encoding=encoding):
                pass
    except EncodingError as error:
        if asks and encoding is None:
            return ask_encoding(file, str(error))
        raise InputError(f"{error} Or name its encoding, as in --encoding cp1251.") from error
    return encoding


def _say_known(file: Path, known: str | None, *, as_json: bool) -> None:
    from ncf_pipeline.ingest.proposals.recognise import title_of

    option = f"--mapping {known} " if known is not None else ""
    next_step = f"ncf-pipeline ingest {option}{file}"
    if as_json:
        typer.echo(json.dumps({"recognised": known, "next": next_step}))
        return
    folder = f", or put such files into the inbox's folder {known}" if known is not None else ""
    looks = f"looks like {title_of(known)}" if known is not None else "has our own columns and needs no mapping"
    Console(soft_wrap=True).print(f"{file.name} {looks}. Load it: {next_step}{folder}.", markup=False, highlight=False)


def _ask_name(settings: Settings, default: str) -> str:
    from ncf_pipeline.ingest.mappings.store import every_mapping, is_name

    taken = {each.name for each in every_mapping(settings)}
    while True:
        name = str(typer.prompt("What shall it be called?", default=default)).strip()
        if not is_name(name):
            typer.echo("Write small letters, digits, _ and -, up to 40.")
        elif name not in taken or typer.confirm(f"There is a mapping {name}. Replace it?", default=False):
            return name


def _check_name(name: str) -> None:
    from ncf_pipeline.ingest.mappings.store import is_name

    if not is_name(name):
        raise typer.BadParameter("write small letters, digits, _ and -, up to 40", param_hint="--name")


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
            f"{_files(waiting[name])} in the inbox's folder {name!r}, which has no mapping.",
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
        typer.echo(f"{_files(waiting)} in {folder}, unread until there is a mapping {name} again.")


def _files(count: int) -> str:
    return f"{count:,} {'file waits' if count == 1 else 'files wait'}"


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
