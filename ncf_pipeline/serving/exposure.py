"""Checks whether customers are shown the lists of their group, while an experiment runs.

A check reads samples of both groups from Redis, as the storefront does. It compares what it reads with the file that
the publication keeps of each customer's lists and of whom they were made for, and with the group to which the
experiment's salt assigns the customer. So it finds lists that are gone or were changed, a live publication that was
not made for these groups (a rollback, a challenger that became the champion), and lists that were made for the wrong
group.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from ncf_pipeline.columns import BUY_AGAIN, FOR_YOU, Lists
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import SHARE, chosen
from ncf_pipeline.experiments.design import Groups
from ncf_pipeline.experiments.exposure import StockCodes, sampled, shown
from ncf_pipeline.experiments.records import Experiment, ExposureCheck
from ncf_pipeline.experiments.results import Looked
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import open_file, store_error, store_errors
from ncf_pipeline.storefront import Storefront

logger = logging.getLogger(__name__)

MOST_LOOKED_AT = 200
"""Customers of each group whom a check looks at. The next check looks at others, until everybody had a turn."""

DUE_AFTER = timedelta(minutes=55)
"""A check is due so long after the last one, so that a watch every 15 minutes checks every hour."""

_TRIES = 3  # of a check during which other lists went live


def check_if_due(settings: Settings, live: str, now: datetime, open_storefront: Callable[[], Storefront]) -> None:
    """Checks the running experiment, if the last check was an hour ago or looked at other lists than are live.

    Args:
        settings: for the database and the artifact store.
        live: the name of the live publication.
        now: the present instant, with a zone.
        open_storefront: makes a client that raises errors, and reads lists whole.

    Raises:
        ArtifactError, DatabaseError, redis.RedisError: see `check`.
    """
    running = experiment_registry.running(settings)
    if running is None:
        return
    last = experiment_registry.last_exposure(settings, running.number)
    seen_live = last is not None and publication.name_of(last.publication) == live
    if last is None or not seen_live or now - last.checked_at >= DUE_AFTER:
        check(settings, now, open_storefront)


def check(settings: Settings, now: datetime, open_storefront: Callable[[], Storefront]) -> ExposureCheck | None:
    """Checks the running experiment, and records the result.

    Args:
        settings: for the database and the artifact store.
        now: the present instant, with a zone.
        open_storefront: makes a client that raises errors, and reads lists whole.

    Returns:
        None if no experiment runs, nothing is live, the first lists of its groups are still being made, or other lists
        went live during each try.

    Raises:
        ArtifactError: the live publication's file is gone or damaged.
        DatabaseError: Postgres does not answer.
        redis.RedisError: Redis does not answer.
    """
    running = experiment_registry.running(settings)
    if running is None:
        return None
    for _ in range(_TRIES):
        # An erasure removes a customer from Redis and from the file, one after the other.
        with transaction(settings) as connection, open_storefront() as storefront:
            hold_off(connection)
            name = storefront.for_visitor().publication
            live = next(
                (each for each in registry.publications(settings) if publication.name_of(each.number) == name), None
            )
            if live is None:
                return None
            if _is_being_made(running, settings, now):
                return None
            number = experiment_registry.exposure_checks(settings, running.number)
            groups = _groups(running, live, number, storefront)
        if groups is not None:
            checked = ExposureCheck(running.number, now, live.number, groups)
            experiment_registry.record_exposure(settings, checked)
            return checked
    logger.info("%s: other lists went live during the check of its groups.", running.design.name)
    return None


def _is_being_made(running: Experiment, settings: Settings, now: datetime) -> bool:
    made = any(each.experiment == running.number for each in registry.publications(settings))
    return not made and now - running.started_at < DUE_AFTER


@dataclass(frozen=True)
class _Made:
    """The lists that were made for a customer, and whether they were made for the share of an experiment."""

    lists: dict[str, StockCodes]
    for_share: bool


def _groups(running: Experiment, live: Publication, number: int, storefront: Storefront) -> Groups[Looked] | None:
    """What a check finds in both groups; None if other lists went live meanwhile."""
    design, customers = running.design, _customers(live)
    in_share = chosen(design.salt, design.share, customers.tolist())
    counts = {}
    for is_share in (True, False):
        looked_at = sampled(customers[in_share == is_share].tolist(), number, MOST_LOOKED_AT)
        made = _made(live, looked_at)
        found = {"right": 0, "wrong": 0, "missing": 0}
        for customer in looked_at:
            answers = storefront.lists_of_customer(customer)
            if any(answer.publication != publication.name_of(live.number) for answer in answers.values()):
                return None
            served = {name: answer.stock_codes for name, answer in answers.items() if answer.source == "customer"}
            mine = made[customer]
            # Lists of another experiment, or of none, are those of no group's share.
            of_own_group = (mine.for_share and live.experiment == running.number) if is_share else not mine.for_share
            found[
                shown(mine.lists, {str(name): codes for name, codes in served.items()}, of_own_group=of_own_group)
            ] += 1
        counts[is_share] = Looked(len(looked_at), **found)
    treated = design.share_is_treated
    return Groups(treated=counts[treated], control=counts[not treated])


def _customers(live: Publication) -> npt.NDArray[np.object_]:
    """(n,) ids of the customers who have lists in a publication."""
    wanted = [(Lists.AUDIENCE, "==", "customer"), (Lists.LIST_NAME, "==", FOR_YOU)]
    return _read(live, [Lists.KEY], wanted)[Lists.KEY].to_numpy(np.object_)


def _made(live: Publication, customers: list[str]) -> dict[str, _Made]:
    """The lists that a publication has for some customers."""
    wanted = [(Lists.AUDIENCE, "==", "customer"), (Lists.KEY, "in", set(customers) or {""})]
    rows = _read(live, [Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES, Lists.GROUP], wanted)
    made = {customer: _Made({}, for_share=False) for customer in customers}
    for key, of_key in rows.groupby(Lists.KEY, sort=False):
        lists = {
            str(name): tuple(codes)
            for name, codes in zip(of_key[Lists.LIST_NAME], of_key[Lists.STOCK_CODES], strict=True)
            if len(codes) or name == BUY_AGAIN  # the storefront replaces any other empty list
        }
        for_share = (of_key[Lists.GROUP] == SHARE).any() or (
            # Publications from before the column existed: a holdout's share has this list only.
            of_key[Lists.GROUP].isna().all() and live.experiment is not None and set(lists) == {FOR_YOU}
        )
        made[str(key)] = _Made(lists, bool(for_share))
    return made


def _read(live: Publication, columns: list[str], wanted: list[Any]) -> pd.DataFrame:
    try:
        with open_file(live.url) as file:
            known = set(pq.ParquetFile(file).schema_arrow.names)
            rows: pd.DataFrame = pq.read_table(
                file, columns=[name for name in columns if name in known], filters=wanted
            ).to_pandas()
    except store_errors() as error:
        raise store_error(
            f"The lists of {publication.name_of(live.number)} cannot be read",
            error,
            "Whether the groups of the experiment see their lists is not checked: run refresh_lists or "
            "`ncf-pipeline refresh`.",
        ) from error
    return rows.assign(**{name: None for name in columns if name not in known})


def words(found: Groups[Looked]) -> str:
    """What a check found, in words."""
    return "; ".join(
        f"{name}: {looked.right:,} of {looked.checked:,} see their group's lists"
        + (f", {looked.wrong:,} see other lists" if looked.wrong else "")
        + (f", {looked.missing:,} have no list" if looked.missing else "")
        for name, looked in found.items()
    )
