"""Drafts: publications that are being made, perhaps by several machines. `ml.draft`, and parts in the artifact store.

A draft pins what its lists depend on, so each shard, whoever scores it and however often, makes the same part. Between
the tasks of a run no lock is held. So whoever goes on with a draft asks `outdated` whether it may.

Every function here that takes settings raises SettingsError if no database is set and the embedded one does not run,
and DatabaseError if Postgres cannot be reached or refuses.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import Variety
from ncf_pipeline.privacy import Erased
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.arrays import remove_arrays
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, read_rows, transaction, write
from ncf_pipeline.storage.files import list_files, remove_file

FOLDER = "drafts"
"""The folder of all drafts in the artifact store."""

CUSTOMERS_PER_SHARD = 50_000
"""Scoring so many takes some two minutes."""


@dataclass(frozen=True)
class Basis:
    """What lists depend on besides the model and the snapshot. People may change it while lists are made.

    Attributes:
        today: the day whose merchandising rules apply.
        rules: of a merchandiser.
        style: in which order, and with how much variety.
        experiment: number of the experiment whose share sees other lists; None if there is none.
        shown: number of the publication whose lists were shown last week; None if nothing counts as shown.
        reasons: whether to publish reasons.
        chances: whether to publish chances.
        due: whether to publish due days.
        spare: products that each list holds beyond those that are shown.
        new_places: places of `discover` for products that hardly anybody has bought.
    """

    today: date
    rules: Rules
    style: Style
    experiment: int | None
    shown: int | None
    reasons: bool
    chances: bool
    due: bool
    spare: int = 0
    new_places: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        flat = {field.name: getattr(self, field.name) for field in fields(self)}
        rules = {
            "hidden": sorted(self.rules.hidden),
            "only_in": {code: sorted(countries) for code, countries in sorted(self.rules.only_in.items())},
            "pins": [asdict(pin) for pin in self.rules.pins],
            "max_per_family": self.rules.max_per_family,
            "at_once": sorted(self.rules.at_once),
            "at_once_in": {country: sorted(codes) for country, codes in sorted(self.rules.at_once_in.items())},
        }
        style = asdict(self.style) | {"variety": asdict(self.style.variety)}
        return flat | {"today": self.today.isoformat(), "rules": rules, "style": style}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Basis":
        """From the JSON of `as_dict`."""
        rules, style = stored["rules"], stored["style"]
        return cls(
            **{
                **stored,
                "today": date.fromisoformat(stored["today"]),
                "rules": Rules(
                    hidden=frozenset(rules["hidden"]),
                    only_in={code: frozenset(countries) for code, countries in rules["only_in"].items()},
                    pins=tuple(Pin(**pin) for pin in rules["pins"]),
                    max_per_family=rules["max_per_family"],
                    # Drafts from before these existed have none.
                    at_once=frozenset(rules.get("at_once", ())),
                    at_once_in={place: frozenset(codes) for place, codes in rules.get("at_once_in", {}).items()},
                ),
                "style": Style(**{**style, "variety": Variety(**style["variety"])}),
            }
        )


@dataclass(frozen=True)
class Draft:
    """One row of `ml.draft` that is open.

    Attributes:
        draft_id: its key.
        version: whose model scores, or 0.
        snapshot_id: of the purchases that the lists know.
        as_of: cutoff of the snapshot.
        top_n: length of a list; `shown` of it are shown, and the rest is spare.
        shards: number of parts of the customers.
        basis: what the lists depend on besides.
        after: number of the newest publication when it was opened; 0 if there was none.
        erased_sha256: `Erased.sha256` when the purchases were read.
        url: of the folder of drafts.
        since: number of the publication from which the lists of customers are taken who are not scored; None if
            everybody is.
        refreshed: how many are scored, and why, for `ml.publication`.
    """

    draft_id: int
    version: int
    snapshot_id: str
    as_of: datetime
    top_n: int
    shards: int
    basis: Basis
    after: int
    erased_sha256: str
    url: str
    since: int | None = None
    refreshed: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The draft as people and folders name it: d000007."""
        return name_of(self.draft_id)

    @property
    def shown(self) -> int:
        """How many products of a list are shown."""
        return self.top_n - self.basis.spare

    @property
    def chosen(self) -> str:
        """The URL of the customers who are scored, and of those who no longer have lists, if not everybody is."""
        return f"{self.url}/{self.name}/chosen.parquet"

    @property
    def shared(self) -> str:
        """The URL of the folder of what all customers share, if `prepare` has made it."""
        return f"{self.url}/{self.name}/shared"

    def part(self, shard: int) -> str:
        """The URL of a shard's part.

        Args:
            shard: from 0.
        """
        return f"{self.url}/{self.name}/part-{shard + 1:04d}-of-{self.shards:04d}.parquet"

    def parts(self) -> list[str]:
        """The URLs of all parts, by shard."""
        return [self.part(shard) for shard in range(self.shards)]


def name_of(draft_id: int) -> str:
    """The name of a draft: d000007."""
    return f"d{draft_id:06d}"


def shard_of(part: str) -> tuple[int, int]:
    """The number of the draft, and the shard from 0, of a part's URL.

    >>> shard_of("s3://shop/drafts/d000007/part-0002-of-0003.parquet")
    (7, 1)

    Raises:
        InputError: it is not the URL of a part.
    """
    matched = re.search(rf"/{FOLDER}/d(\d+)/part-(\d+)-of-\d+\.parquet$", part)
    if matched is None:
        raise InputError(f"{part} is not a part of a draft.")
    return int(matched[1]), int(matched[2]) - 1


def shards_for(settings: Settings, customers: int) -> int:
    """The number of shards of a shop.

    Args:
        settings: `scoring_shards` counts, if it is set.
        customers: who have lists.
    """
    if settings.scoring_shards is not None:
        return settings.scoring_shards
    return max(1, math.ceil(customers / CUSTOMERS_PER_SHARD))


def open_draft(
    settings: Settings,
    *,
    version: int,
    snapshot_id: str,
    as_of: datetime,
    top_n: int,
    shards: int,
    basis: Basis,
    erased: Erased,
    since: int | None = None,
    refreshed: Mapping[str, Any] | None = None,
) -> Draft:
    """Opens a draft. It stays open until `end_draft`.

    Args:
        settings: whose registry and artifact store.
        version: whose model scores, or 0.
        snapshot_id: of the purchases that the lists know.
        as_of: cutoff of the snapshot.
        top_n: length of a list.
        shards: number of parts of the customers.
        basis: what the lists depend on besides.
        erased: the customers who had been erased when the purchases were read.
        since: as of `Draft`.
        refreshed: as of `Draft`.
    """
    pinned: dict[str, Any] = {
        "version": version,
        "snapshot_id": snapshot_id,
        "as_of": as_of,
        "top_n": top_n,
        "shards": shards,
        "after": max((entry.number for entry in registry.publications(settings)), default=0),
        "erased_sha256": erased.sha256,
        "url": f"{settings.artifacts}/{FOLDER}",
        "since": since,
    }
    counts = json.dumps(refreshed) if refreshed is not None else None
    with transaction(settings) as connection:
        (row,) = query_rows(connection, "open_draft", basis=json.dumps(basis.as_dict()), refreshed=counts, **pinned)
    return Draft(draft_id=row.draft_id, basis=basis, refreshed=refreshed, **pinned)


def read_draft(settings: Settings, draft_id: int) -> Draft | None:
    """A draft; None if it has ended: it was published, or dropped.

    Raises:
        InputError: there is no such draft.
    """
    rows = read_rows(settings, "draft", draft_id=draft_id)
    if not rows:
        raise InputError(f"There is no draft {name_of(draft_id)}. Start the run again.")
    stored = rows[0]._asdict()
    if stored.pop("state") != "open":
        return None
    return Draft(**{**stored, "basis": Basis.from_dict(stored["basis"])})


def outdated(settings: Settings, draft: Draft, erased: Erased) -> str | None:
    """Why a draft's lists must not be published; None if they may be.

    Args:
        settings: whose registry.
        draft: that is open.
        erased: the customers who were erased until now.

    Returns:
        A sentence.
    """
    if erased.sha256 != draft.erased_sha256:
        return "A customer was erased since."
    champion = registry.champion(settings)
    if champion is None or champion.version != draft.version:
        serves = "no version" if champion is None else champion.title
        return f"It is of v{draft.version}, and {serves} serves now."
    since = [entry.as_of for entry in registry.publications(settings) if entry.number > draft.after]
    if any(as_of > draft.as_of for as_of in since):
        return f"Its lists are as of {draft.as_of}, and lists as of {max(since)} went live since."
    return None


def end_draft(settings: Settings, draft: Draft, *, publication: int | None) -> None:
    """Ends a draft, and removes its parts. It may be stopped at any point: `remove_ended` removes what is left.

    Args:
        settings: whose registry.
        draft: to end.
        publication: the number of the publication that its lists became; None if it is dropped.
    """
    state = "dropped" if publication is None else "published"
    write(settings, "end_draft", draft_id=draft.draft_id, state=state, publication=publication)
    for part in (*draft.parts(), draft.chosen):
        remove_file(part)
    remove_arrays(draft.shared)


def remove_ended(settings: Settings, *, abandoned_before: datetime) -> list[str]:
    """Drops drafts that nobody will go on with, and removes the parts of all drafts that are not open.

    Args:
        settings: whose registry and artifact store.
        abandoned_before: a draft that was opened earlier than this instant is dropped; with a zone.

    Returns:
        The URLs of the parts that were removed, and of the folders of what they share.

    Raises:
        ArtifactError: the artifact store refused. The next call removes the rest.
    """
    # Listed first: a draft that is opened after that has no file among these.
    found = list_files(f"{settings.artifacts}/{FOLDER}")
    kept = set()
    for row in read_rows(settings, "open_drafts"):
        if row.opened_at < abandoned_before:
            write(settings, "end_draft", draft_id=row.draft_id, state="dropped", publication=None)
        else:
            kept.add(name_of(row.draft_id))
    removed = dict.fromkeys(
        f"{settings.artifacts}/{FOLDER}/{matched[0]}"
        for path in sorted(found)
        if (matched := re.match(r"(d\d+)/((part-\d+-of-\d+|chosen)\.parquet$|shared(?=/))", path))
        and matched[1] not in kept
    )
    for url in removed:
        if url.endswith("/shared"):
            remove_arrays(url)
        else:
            remove_file(url)
    return list(removed)
