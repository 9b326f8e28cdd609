"""Collects what is left when the chaos is over, and makes the undisturbed run to compare it with."""

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

import psycopg2
import pyarrow.parquet as pq

from chaos.judge import (
    Check,
    Told,
    lines_equal,
    lists_are_those_of_their_publication,
    models_are_whole,
    no_file_left,
    no_key_left,
    times_told,
)
from chaos.lanes import PATIENCE, read
from chaos.readers import Seen
from chaos.schedule import FORGET, INGEST
from chaos.stages import Launcher
from chaos.world import CLOUD, Shop, World, inherited
from ncf_pipeline.alerts import Incident, incidents
from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import NcfError
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.serving.prune import prune
from ncf_pipeline.serving.publication.publishing import GRACE_SECONDS
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import list_files, open_file, store_errors

_LINES = """
select invoice_no, line_number, stock_code, description, quantity, invoice_date, unit_price, customer_id, country
from retail.invoice_line
"""

WEEK_LATER = timedelta(days=8)
"""After this time, what a killed writer left is swept; so the last `prune` is told that it is so late."""


def tidy(shop: Shop) -> list[str]:
    """What the upkeep of a shop does in time: sweeps what killed writers left, and publishes twice.

    Returns:
        The commands that failed.
    """

    failed = []
    for _ in range(2):
        time.sleep(GRACE_SECONDS + 1)  # so that the publication before may leave
        running = shop.launcher.start(["refresh"], shop.environment, "last-refresh")
        if running.wait(PATIENCE) != 0:
            failed.append(f"{shop.name}: the last refresh failed: {running.last_words()}")
    try:
        # Called here: the command reads the clock of Postgres, and that one tells the time to both shops.
        prune(shop.settings, now=datetime.now(UTC) + WEEK_LATER)
    except NcfError as error:
        failed.append(f"{shop.name}: the last prune failed: {error}")
    return failed


def undisturbed(world: World, shop: Shop) -> Settings:
    """Does what was done to a shop once more, in the same order, in a shop of its own, without any fault.

    Raises:
        RuntimeError: a command failed.
    """
    name = f"{shop.name}_calm"
    folder = world.root / "calm" / shop.name
    settings = world.settings(name, folder, artifacts=(folder / "artifacts").as_uri())
    launcher = Launcher({**inherited(), **shop.clock.environment}, world.root / "logs" / name)
    try:
        for what, files in _together(shop.history):
            arguments = ["ingest", *files] if what == INGEST else ["forget", files[0], "--yes"]
            running = launcher.start(arguments, world.variables(settings), what)
            if running.wait(PATIENCE) != 0:
                raise RuntimeError(f"{name}: {what} failed without any fault: {running.last_words()}")
    finally:
        launcher.stop()
    return settings


def checks_of_shop(shop: Shop, calm: Settings, world: World, seen: Sequence[Seen]) -> list[Check]:
    """All checks of what a shop has left."""
    erased = {customer for what, customer in shop.history if what == FORGET}
    kept, known = _kept_lists(shop, seen)
    with world.client() as client:
        keys = {key.decode() for key in client.scan_iter(f"{shop.name}:*", count=10_000)}
        states = {name.decode(): state.decode() for name, state in client.hgetall(f"{shop.name}:publications").items()}
    damaged, models = _damaged(shop)
    return [
        lines_equal(shop.name, _lines(calm), _lines(shop.settings)),
        lists_are_those_of_their_publication(
            shop.name, [each for each in seen if each.shop == shop.name], kept, known=known, erased=erased
        ),
        no_file_left(shop.name, _files(shop)),
        no_key_left(shop.name, keys, states, keep=shop.settings.keep_publications),
        models_are_whole(shop.name, damaged, models),
    ]


def told(world: World, shop: Shop) -> list[Told]:
    """The incidents of a shop, with how often on-call was told."""
    messages = [message for message in world.channel.messages if message.shop == shop.name]

    def count(incident: Incident, *, over: bool) -> int:
        """Messages about it; those without a number were sent while Postgres was down."""
        at = [
            message.at
            for message in messages
            if message.title.startswith("[over]") == over
            and (
                message.body.rstrip().endswith(f"\nIncident {incident.incident_id}")
                or ("\nIncident " not in message.body and message.title.endswith(incident.title))
            )
        ]
        return times_told(at, world.blows)

    return [
        Told(
            incident_id=each.incident_id,
            kind=each.kind,
            key=each.key,
            opened_at=each.opened_at,
            closed_at=each.closed_at,
            lasts=each.lasts,
            alerts=count(each, over=False),
            ends=count(each, over=True),
        )
        for each in incidents(shop.settings, over_too=True, most=1000)
    ]


def _together(history: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """The first days were loaded in one call; the others one by one."""
    first = [of for what, of in history if what == "first"]
    return [(INGEST, first), *((what, [of]) for what, of in history if what != "first")]


def _lines(settings: Settings) -> list[tuple[str, ...]]:
    with closing(psycopg2.connect(settings.database())) as connection, connection.cursor() as cursor:
        cursor.execute(_LINES)
        return [tuple(map(str, row)) for row in cursor.fetchall()]


def _files(shop: Shop) -> list[str]:
    own, home = shop.settings.inbox_path.parent, shop.settings.home
    files = [str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()]
    # Airflow's own files and those of its Postgres are not the shop's.
    files += [str(path.relative_to(home)) for path in (*home.glob("*"), *home.glob("secrets/*")) if path.is_file()]
    if shop.name == CLOUD:
        files += [f"s3/{name}" for name in list_files(shop.settings.artifacts)]
    return files


def _kept_lists(shop: Shop, seen: Sequence[Seen]) -> tuple[dict[str, dict[str, list[str]]], set[str]]:
    """The lists in the files of the publications that readers saw, and which publications were ever live."""
    names = {place.partition("|")[0] for each in seen if each.shop == shop.name for place in each.lists}
    kept: dict[str, dict[str, list[str]]] = {}
    known = set()
    published = read(shop, "select number, url, pruned_at from ml.publication where state = 'published'")
    for number, url, pruned_at in published:
        name = f"p{number:06d}"
        known.add(name)
        if name in names and pruned_at is None:
            kept[name] = {}  # if the file is not there, every list differs from it
            with suppress(*store_errors()), open_file(url) as file:
                table = pq.read_table(file).to_pydict()
                keys = zip(table[Lists.AUDIENCE], table[Lists.KEY], table[Lists.LIST_NAME], strict=True)
                codes = map(list, table[Lists.STOCK_CODES])
                kept[name] = {"|".join(key): of_key for key, of_key in zip(keys, codes, strict=True)}
    return kept, known


def _damaged(shop: Shop) -> tuple[list[str], int]:
    """The models that may serve and cannot be loaded; and how many were looked at."""
    damaged, models = [], 0
    for entry in registry.model_versions(shop.settings):
        if entry.url is None or entry.pruned_at is not None:
            continue
        models += 1
        try:
            artifacts.load_model(entry.url, known=KnownManifests(shop.settings, entry.version))
        except NcfError as error:
            damaged.append(f"{entry.name}: {error}")
    return damaged, models
