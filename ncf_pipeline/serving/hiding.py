"""Products that are hidden at once: readers take them out within seconds, without new lists.

Two keys in Redis say what is hidden, so that neither hand undoes what the other did:

- `ncf:hidden`, and `ncf:hidden:EIRE` for one country: sorted sets of stock codes, by when each ends. They are a copy of
  `retail.hidden_product`, where people's decisions are kept with who made them and when.
- `ncf:sold_out`: a set that the shop's stock system writes by itself, or the load of a catalogue with stock.

The copy is made anew by each change, each publication and each watch, one after the other, so it is right again soon
after Redis was away, or lost its memory.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from ncf_pipeline.errors import InputError
from ncf_pipeline.serving.announcing import announce
from ncf_pipeline.serving.publication.contents import if_right_type
from ncf_pipeline.serving.publication.store import Store, connected
from ncf_pipeline.serving.rules.values import closest
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, query_records, query_rows, read_records, read_rows, transaction
from ncf_pipeline.storage.locks import Lock

logger = logging.getLogger(__name__)

_LOCK = Lock(0x68696465, "hides products")  # "hide": the last change that is stored is the last that is copied
_AT_ONCE = 1000

_LAST_YEAR = 3000
"""Clocks and databases do not reckon beyond the year 9999 in any zone: an end so far away is none."""


@dataclass(frozen=True)
class HiddenProduct:
    """A product that a person hid, and that is hidden now.

    Attributes:
        stock_code: in canonical spelling.
        country: from whose customers it is hidden; None: from everybody.
        until: when it is shown again; None: when somebody says so.
        why: in the person's words; None if they gave none.
        hidden_at: when they hid it.
        hidden_by: who they are.
    """

    stock_code: str
    country: str | None
    until: datetime | None
    why: str | None
    hidden_at: datetime
    hidden_by: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stock_code": self.stock_code,
            "country": self.country,
            "until": self.until.isoformat() if self.until else None,
            "why": self.why,
            "hidden_at": self.hidden_at.isoformat(),
            "hidden_by": self.hidden_by,
        }


@dataclass(frozen=True)
class HiddenNow:
    """All that readers take out at this moment.

    Attributes:
        everywhere: stock codes that nobody is shown.
        by_country: those that only its customers are not shown.
    """

    everywhere: frozenset[str]
    by_country: Mapping[str, frozenset[str]]


def hide(
    settings: Settings,
    stock_codes: Sequence[str],
    *,
    actor: str,
    country: str | None = None,
    until: datetime | None = None,
    why: str | None = None,
) -> list[str]:
    """Hides products from all readers, now. What hid one of them before ends, also if it would have lasted longer.

    Args:
        settings: whose database and list store.
        stock_codes: in any case.
        actor: who hides them; stored.
        country: from whose customers, in any case; None: from everybody.
        until: when they are shown again, with a zone; None: when somebody says so.
        why: stored; for people.

    Returns:
        The stock codes of no product of the shop: probably misspelled. They are hidden, too.

    Raises:
        InputError: a stock code is empty, nobody orders from the country, or the end is not later than now, or beyond
            the year 3000.
        DatabaseError: Postgres does not answer or refuses. Nothing changed.
        ListStoreError: Redis does not answer or refuses. It is stored, and the next watch hides it.
    """
    if until is not None and until <= datetime.now(UTC):
        raise InputError(f"{until.isoformat(timespec='minutes')} is not later than now. Nothing was hidden.")
    if until is not None and until.year > _LAST_YEAR:
        raise InputError(f"{until.year} is too far away. To hide products for good, name no end. Nothing was hidden.")
    codes = _codes(stock_codes)
    place = _country(settings, country)
    with _LOCK.held(settings):
        with transaction(settings) as connection:
            unknown = {row.stock_code for row in query_rows(connection, "unknown_products", stock_codes=codes)}
            for code in codes:
                query_rows(connection, "show_product", stock_code=code, country=place, actor=actor)
                execute(connection, "hide_product", stock_code=code, country=place, until=until, why=why, actor=actor)
        _copy(settings, "It is stored, and hidden with the next watch, within 15 minutes.")
    announce(settings)
    return [code for code in codes if code in unknown]


def unhide(settings: Settings, stock_codes: Sequence[str], *, actor: str, country: str | None = None) -> list[str]:
    """Shows products again that a person hid. Lists that were made meanwhile lack them until the next publication.

    Args:
        settings: whose database and list store.
        stock_codes: in any case.
        actor: who shows them; stored.
        country: as when they were hidden.

    Returns:
        The stock codes that were not hidden there.

    Raises:
        InputError: a stock code is empty, or nobody orders from the country.
        DatabaseError: Postgres does not answer or refuses. Nothing changed.
        ListStoreError: Redis does not answer or refuses. It is stored, and the next watch shows it.
    """
    codes = _codes(stock_codes)
    place = _country(settings, country)
    with _LOCK.held(settings):
        with transaction(settings) as connection:
            ended = {
                code: query_rows(connection, "show_product", stock_code=code, country=place, actor=actor)
                for code in codes
            }
        _copy(settings, "It is stored, and shown with the next watch, within 15 minutes.")
    announce(settings)
    return [code for code, rows in ended.items() if not rows]


def hidden_products(settings: Settings) -> list[HiddenProduct]:
    """What people hid and is hidden now, by stock code.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return read_records(settings, HiddenProduct, "hidden_products")


def sold_out(settings: Settings) -> list[str]:
    """The stock codes that the shop's stock system says are sold out.

    Raises:
        ListStoreError: Redis does not answer or refuses.
    """
    with connected(settings, "what is sold out is not known") as store:
        return _sold_out(store)


def tell_stock(settings: Settings, is_sold_out: Mapping[str, bool], *, so: str) -> tuple[int, int]:
    """Tells readers what is sold out and what is not, as the shop's stock system does. Other products stay as they are.

    Args:
        settings: whose list store.
        is_sold_out: by stock code in canonical spelling.
        so: the last sentence of an error: what happens now.

    Returns:
        How many products are sold out that were not before, and how many the other way round.

    Raises:
        ListStoreError: Redis does not answer or refuses.
    """
    out, back = 0, 0
    gone = [code for code, is_out in is_sold_out.items() if is_out]
    there = [code for code, is_out in is_sold_out.items() if not is_out]
    with connected(settings, "what is sold out was not written", so=so) as store:
        key = f"{store.prefix}:sold_out"
        for begin in range(0, len(gone), _AT_ONCE):
            out += int(store.client.sadd(key, *gone[begin : begin + _AT_ONCE]))
        for begin in range(0, len(there), _AT_ONCE):
            back += int(store.client.srem(key, *there[begin : begin + _AT_ONCE]))
    return out, back


def hidden_now(settings: Settings) -> HiddenNow:
    """What readers take out at this moment, so that new lists need not have it.

    Raises:
        DatabaseError: Postgres does not answer.
        ListStoreError: Redis does not answer or refuses.
    """
    everywhere, by_country = set(sold_out(settings)), dict[str, set[str]]()
    for product in hidden_products(settings):
        (everywhere if product.country is None else by_country.setdefault(product.country, set())).add(
            product.stock_code
        )
    return HiddenNow(frozenset(everywhere), {country: frozenset(codes) for country, codes in by_country.items()})


def copy_to_readers(settings: Settings) -> None:
    """Makes what Redis says is hidden what Postgres says.

    Raises:
        DatabaseError: Postgres does not answer.
        ListStoreError: Redis does not answer or refuses.
    """
    with _LOCK.held(settings):
        _copy(settings, "What people hid since is hidden with the next watch, within 15 minutes.")


def instant(text: str, zone: str) -> datetime:
    """The instant that a person wrote: a day begins at midnight of the shop.

    Args:
        text: `2030-12-24`, `2030-12-24 18:00`, or with a zone of its own.
        zone: of the shop, an IANA name.

    >>> instant("2030-12-24", "Europe/London").isoformat()
    '2030-12-24T00:00:00+00:00'

    Raises:
        InputError: it is neither a day nor an instant.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            at = datetime.combine(date.fromisoformat(text.strip()), time())
        except ValueError as error:
            raise InputError(f"{text!r} is no day and no instant: write 2030-12-24 or 2030-12-24T18:00.") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=ZoneInfo(zone))


def _codes(stock_codes: Iterable[str]) -> list[str]:
    codes = list(dict.fromkeys(code.strip().upper() for code in stock_codes))
    if not all(codes):
        raise InputError("A stock code is empty. Nothing changed.")
    return codes


def _country(settings: Settings, named: str | None) -> str | None:
    """A country as invoices write it. One that nobody orders from is refused: it would hide nothing."""
    if named is None:
        return None
    known = [row.country for row in read_rows(settings, "shop_countries")]
    by_letters: dict[str, str] = {country.casefold(): country for country in known}
    found = by_letters.get(named.strip().casefold())
    if found is None:
        meant = closest(named, known)
        hint = f" Did you mean {meant}?" if meant is not None else ""
        raise InputError(f"Nobody orders from {named!r}, so nothing changed.{hint}")
    return found


def _copy(settings: Settings, so: str) -> None:
    """Writes what is hidden to Redis. The caller holds the lock."""
    with transaction(settings) as connection:
        hidden = query_records(connection, HiddenProduct, "hidden_products")
        countries = [row.country for row in query_rows(connection, "countries_with_hidden")]
    wanted: dict[str | None, dict[str, float]] = {None: {}, **{country: {} for country in countries}}
    for product in hidden:
        ends = math.inf if product.until is None else product.until.timestamp()
        wanted[product.country][product.stock_code] = ends
    with connected(settings, "what is hidden was not written", so=so) as store:
        for country, ends_by_code in wanted.items():
            _write(store, f"{store.prefix}:hidden" + (f":{country}" if country is not None else ""), ends_by_code)


def _write(store: Store, key: str, wanted: Mapping[str, float]) -> None:
    """Makes a sorted set what is wanted, by what differs, so that no reader sees it empty meanwhile."""
    found: Any = if_right_type(lambda: store.client.zrange(key, 0, -1, withscores=True))
    if found is None:  # of another type: somebody else wrote it
        store.client.unlink(key)
        logger.warning("%s was no sorted set. It was written anew.", key)
    there = {code.decode(errors="replace"): score for code, score in found or []}
    new = {code: ends for code, ends in wanted.items() if there.get(code) != ends}
    gone = [code for code, _ in found or [] if code.decode(errors="replace") not in wanted]
    for begin in range(0, len(new), _AT_ONCE):
        store.client.zadd(key, dict(list(new.items())[begin : begin + _AT_ONCE]))
    for begin in range(0, len(gone), _AT_ONCE):
        store.client.zrem(key, *gone[begin : begin + _AT_ONCE])


def _sold_out(store: Store) -> list[str]:
    codes: Any = if_right_type(lambda: store.client.smembers(f"{store.prefix}:sold_out"))
    if codes is None:
        logger.warning("%s:sold_out is no set, so nothing counts as sold out.", store.prefix)
    return sorted(code.decode(errors="replace") for code in codes or ())
