"""Changes of a merchandiser's rules: each is one transaction, which Postgres records with who made it and why.

Whoever changes rules goes through `apply`: the page, the commands, a file, and a preview, which applies a change in a
transaction that is rolled back.

Every function here that takes settings raises DatabaseError if Postgres cannot be reached or refuses.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2

from ncf_pipeline.errors import ChangedMeanwhileError, InputError
from ncf_pipeline.serving.rules.values import (
    HIDDEN,
    LEAVES_OUT,
    ONLY_IN,
    PINNED,
    PINNED_BESIDE,
    Limits,
    Rule,
)
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, query_rows, read_rows, rehearsal, transaction

_KIND_OF = {why: kind for kind, why in LEAVES_OUT.items()}
_EVERY_CHANGE = 2**63 - 1


@dataclass(frozen=True)
class Change:
    """What somebody wants to change.

    Attributes:
        put: rules that shall hold. One that leaves a product out, or shows it in some countries only, takes the place
            of the one that the product has.
        remove: `Rule.key` of stored rules that shall no longer hold.
        limits: the new limits; None: as they are.
        replaces_all: whether `put` takes the place of all rules.
        undoes: number of the change that it undoes, as `undoing` makes it; None: it undoes none.
    """

    put: tuple[Rule, ...] = ()
    remove: tuple[str, ...] = ()
    limits: Limits | None = None
    replaces_all: bool = False
    undoes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        limits = self.limits
        return {
            "put": [rule.as_dict() for rule in self.put],
            "remove": list(self.remove),
            "limits": None if limits is None else [limits.max_per_family, limits.min_price],
            "replaces_all": self.replaces_all,
            "undoes": self.undoes,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Change":
        """From the JSON of `as_dict`."""
        limits = stored["limits"]
        return cls(
            tuple(Rule.from_dict(rule) for rule in stored["put"]),
            tuple(stored["remove"]),
            None if limits is None else Limits(*limits),
            stored["replaces_all"],
            stored.get("undoes"),
        )

    @property
    def stock_codes(self) -> set[str]:
        """The products that it names. Those of a pin that is removed are not known from its key."""
        removed = {key.partition(" ")[2] for key in self.remove if not key.startswith("pin ")}
        return {code for rule in self.put for code in rule.products} | removed


@dataclass(frozen=True)
class PastChange:
    """A change that somebody made.

    Attributes:
        change_id: its number.
        changed_at: when.
        actor: who or what made it.
        reason: why; None if they said nothing.
        undoes: number of the change that it undid; None if it undid none.
        undone_by: number of the change that undid it; None if it still counts.
        changed_rows: how many rows it changed.
        words: what it did, in up to five sentences.
    """

    change_id: int
    changed_at: datetime
    actor: str
    reason: str | None
    undoes: int | None
    undone_by: int | None
    changed_rows: int
    words: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "changed_at": self.changed_at.isoformat(), "words": list(self.words)}


def rules(settings: Settings) -> list[Rule]:
    """Every rule about a product, by stock code; also those that are over or have not begun."""
    with transaction(settings) as connection:
        return _rules(connection)


def limits(settings: Settings) -> Limits:
    """The limits on all lists."""
    found = read_rows(settings, "list_limits")
    return Limits(found[0].max_per_family, found[0].min_price) if found else Limits()


def newest_change(settings: Settings) -> int:
    """The number of the newest change; 0 if there was none."""
    return int(read_rows(settings, "newest_rule_change")[0].change_id)


def history(
    settings: Settings, *, before: int | None = None, stock_code: str | None = None, most: int = 20
) -> list[PastChange]:
    """Changes, the newest first.

    Args:
        settings: of the database.
        before: only changes with a smaller number.
        stock_code: only those that concern this product.
        most: how many.
    """
    found = read_rows(settings, "rule_changes", before=before or _EVERY_CHANGE, stock_code=stock_code, most=most)
    return [
        PastChange(
            row.change_id,
            row.changed_at,
            row.actor,
            row.reason,
            row.undoes,
            row.undone_by,
            row.changed_rows,
            _in_words(row.first_rows or ()),
        )
        for row in found
    ]


def apply(
    settings: Settings,
    change: Change,
    *,
    actor: str,
    reason: str | None,
    seen: int | None = None,
) -> int | None:
    """Changes the rules, all or nothing.

    Args:
        settings: of the database.
        change: what to change.
        actor: who makes it.
        reason: why.
        seen: the newest change that this person had seen; None: they have not looked.

    Returns:
        The number of the change; None if everything was so already.

    Raises:
        ChangedMeanwhileError: somebody else has since changed a rule of one of these products, or the limits.
        InputError: a rule to remove does not exist.
    """
    with transaction(settings) as connection:
        execute(connection, "lock_rules")
        stored = _rules(connection)
        if seen is not None:
            _refuse_if_changed_since(connection, change, stored, seen)
        execute(connection, "set_actor", actor=actor, reason=reason or "")
        _remove(connection, change, stored)
        _put_left_out(connection, change, stored)
        _put_countries(connection, change, stored)
        _put_pins(connection, change, stored)
        if change.limits is not None:
            execute(connection, "set_list_limits", **vars(change.limits))
        made = query_rows(connection, "rule_change_now")
    return int(made[0].change_id) if made else None


def undo(settings: Settings, change_id: int, *, actor: str, reason: str | None = None) -> int:
    """Makes the rules that a change changed what they were before it.

    Returns:
        The number of the change that this makes.

    Raises:
        InputError: there is no such change, it was undone already, or a rule of it was changed again since.
    """
    with transaction(settings) as connection:
        execute(connection, "lock_rules")
        found = query_rows(connection, "rule_change", change_id=change_id)
        if not found:
            raise InputError(f"There is no change {change_id} of the rules.")
        if found[0].undone_by is not None:
            raise InputError(f"Change {change_id} is undone already, by change {found[0].undone_by}.")
        execute(connection, "set_actor", actor=actor, reason=reason or "")
        try:
            execute(connection, "undo_rule_change", change_id=change_id)
        except psycopg2.errors.ObjectNotInPrerequisiteState as error:
            raise InputError(
                f"Change {change_id} cannot be undone: what it made was changed again since. Undo the later changes "
                "first, or change the rule itself."
            ) from error
        (made,) = query_rows(connection, "rule_change_now")
    return int(made.change_id)


def undoing(settings: Settings, change_id: int) -> Change:
    """Says what `undo` would do, as a change to be seen first. Nothing is written.

    Raises:
        InputError: as `undo`.
    """
    with rehearsal(settings):
        before, limits_before = {rule.key: rule for rule in rules(settings)}, limits(settings)
        undo(settings, change_id, actor="")
        after, limits_after = {rule.key: rule for rule in rules(settings)}, limits(settings)
    return Change(
        put=tuple(rule for key, rule in after.items() if rule != before.get(key)),
        remove=tuple(key for key in before if key not in after),
        limits=limits_after if limits_after != limits_before else None,
        undoes=change_id,
    )


def _rules(connection: Connection) -> list[Rule]:
    return [
        Rule(
            _KIND_OF.get(row.kind, row.kind),
            row.stock_code,
            tuple(row.countries or ()),
            row.list_name,
            row.position,
            row.starts_on,
            row.ends_on,
            row.note,
            row.pin_id,
            row.beside,
        )
        for row in query_rows(connection, "list_rules")
    ]


def _refuse_if_changed_since(connection: Connection, change: Change, stored: Sequence[Rule], seen: int) -> None:
    codes = change.stock_codes | {rule.stock_code for rule in stored if change.replaces_all}
    codes |= {code for rule in stored if rule.key in change.remove for code in rule.products}
    later = query_rows(
        connection,
        "rules_changed_since",
        seen=seen,
        stock_codes=sorted(codes),
        limits=change.limits is not None,
    )
    if later:
        raise ChangedMeanwhileError(
            f"{later[0].actor} changed this too, at {later[0].changed_at:%H:%M:%S %Z} (change {later[0].change_id}), "
            "after you opened the form. Nothing of yours is saved. Look at what holds now, and save again if you still "
            "want to."
        )


def _remove(connection: Connection, change: Change, stored: Sequence[Rule]) -> None:
    """Removes the rules that are to be removed, and, if `put` replaces all, those that are not put again."""
    removed = {rule.key: rule for rule in stored if rule.key in change.remove}
    for key in change.remove:
        if key not in removed:
            raise InputError(f"There is no rule '{key}' any more: somebody removed it.")
    if change.replaces_all:
        stays = {(rule.kind in LEAVES_OUT, rule.stock_code) for rule in change.put if not rule.is_pin}
        for rule in stored:
            is_put = rule in change.put if rule.is_pin else (rule.kind in LEAVES_OUT, rule.stock_code) in stays
            if not is_put:
                removed[rule.key] = rule
    gone = list(removed.values())
    execute(connection, "delete_unlisted", stock_codes=[rule.stock_code for rule in gone if rule.kind in LEAVES_OUT])
    _delete_countries(connection, [(rule.stock_code, each) for rule in gone for each in _only(rule)])
    execute(connection, "delete_pins", pin_ids=[rule.pin_id for rule in gone if rule.is_pin])


def _put_left_out(connection: Connection, change: Change, stored: Sequence[Rule]) -> None:
    wanted = {rule.stock_code: rule for rule in change.put if rule.kind in LEAVES_OUT}
    there = {rule.stock_code: rule for rule in stored if rule.kind in LEAVES_OUT}
    new = [rule for code, rule in wanted.items() if there.get(code) != rule]
    if new:
        codes = [rule.stock_code for rule in new]
        execute(connection, "delete_unlisted", stock_codes=codes)
        execute(
            connection,
            "insert_unlisted",
            stock_codes=codes,
            whys=[LEAVES_OUT[rule.kind] for rule in new],
            ends_on=[rule.ends_on for rule in new],
            notes=[rule.note for rule in new],
        )


def _put_countries(connection: Connection, change: Change, stored: Sequence[Rule]) -> None:
    wanted = {rule.stock_code: rule for rule in change.put if rule.kind == ONLY_IN}
    there = {(rule.stock_code, each) for rule in stored for each in _only(rule) if rule.stock_code in wanted}
    named = {(rule.stock_code, each) for rule in wanted.values() for each in rule.countries}
    _delete_countries(connection, sorted(there - named))
    if new := sorted(named - there):
        codes, countries = map(list, zip(*new, strict=True))
        execute(connection, "insert_product_countries", stock_codes=codes, countries=countries)


def _put_pins(connection: Connection, change: Change, stored: Sequence[Rule]) -> None:
    there = {rule for rule in stored if rule.is_pin and rule.key not in change.remove}
    new = [rule for rule in dict.fromkeys(change.put) if rule.is_pin and rule not in there]
    if new:
        execute(
            connection,
            "insert_pins",
            stock_codes=[rule.stock_code for rule in new],
            list_names=[rule.list_name for rule in new],
            countries=[rule.countries[0] if rule.countries else None for rule in new],
            positions=[rule.position for rule in new],
            starts_on=[rule.starts_on for rule in new],
            ends_on=[rule.ends_on for rule in new],
            notes=[rule.note for rule in new],
            besides=[rule.beside for rule in new],
        )


def _delete_countries(connection: Connection, pairs: Sequence[tuple[str, str]]) -> None:
    if pairs:
        codes, countries = map(list, zip(*pairs, strict=True))
        execute(connection, "delete_product_countries", stock_codes=codes, countries=countries)


def _only(rule: Rule) -> tuple[str, ...]:
    return rule.countries if rule.kind == ONLY_IN else ()


def _in_words(rows: Iterable[Sequence[Any]]) -> tuple[str, ...]:
    """What changes of rows mean, in words: `+` for a rule that holds since, `-` for one that no longer does."""
    words = []
    for table, was, is_now in rows:
        if table == "list_limit" and is_now:
            family, price = is_now["max_per_family"] or "no limit", is_now["min_price"]
            price = "no limit" if price is None else price
            words.append(f"Limits: variants in a list {family}, lowest price {price}")
            continue
        words += [f"{sign} {_row_in_words(table, row)}" for sign, row in (("−", was), ("+", is_now)) if row]
    return tuple(words)


def _row_in_words(table: str, row: Mapping[str, Any]) -> str:
    code = row.get("stock_code", "")
    if table == "product_country":
        return f"{code} {ONLY_IN} {row['country']}"
    if table == "unlisted_product":
        until = f" until {row['shown_again_on']}" if row["shown_again_on"] else ""
        return f"{code} {_KIND_OF.get(row['why'], HIDDEN)}{until}"
    until = f" until {row['ends_on']}" if row["ends_on"] else ""
    if row.get("beside"):
        return (
            f"{code} {PINNED_BESIDE} {row['beside']} to place {row['position']} of {row['list_name']} "
            f"from {row['starts_on']}{until}"
        )
    where = f"in {row['country']}" if row["country"] else "for everyone"
    return f"{code} {PINNED} to place {row['position']} of {row['list_name']} {where} from {row['starts_on']}{until}"
