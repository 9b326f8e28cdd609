"""Looks the locked packages up in a copy of the public advisories. Needs no network, apart from `--renew`.

The copy is made of records in the OSV format (https://ossf.github.io/osv-schema/), as osv.dev and PyPA's advisory
database publish them. It is not part of the repository: `make advisories` makes it, also from files that were carried
to a machine without a network. Where there is none, nothing is audited, and lint says so.
"""

import argparse
import gzip
import io
import json
import sys
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml
from lock import PROJECT, Vulnerability, accepted, locked
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

COPIES = (Path(__file__).with_name("advisories.json.gz"), PROJECT.parent / "shared" / "advisories.json.gz")
"""Where a copy is looked for: the one of this checkout, then one beside the project."""

SOURCE = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
OLD = 90
"""Days after which a copy says little about today's packages."""


def main() -> None:
    """Audits the lock, or renews the copy of the advisories."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", metavar="FROM", nargs="?", const=SOURCE, help="a URL, a zip or a folder of records")
    parser.add_argument("--copy", type=Path, help="the copy; by default the first one that is found")
    arguments = parser.parse_args()
    if arguments.renew:
        renew(arguments.renew, arguments.copy or COPIES[0])
        return
    copy = arguments.copy or next((path for path in COPIES if path.exists()), None)
    if copy is None:
        print("NOT AUDITED: there is no copy of the advisories here. `make advisories` makes one; on a machine without")
        print("a network, `make advisories FROM=` a zip or a folder of OSV records that you bring.")
        return
    advisories = json.loads(gzip.decompress(copy.read_bytes()))
    versions = locked()
    today = datetime.now(UTC).date()
    wrong = problems(versions, advisories["of"], accepted()[0], today)
    day = date.fromisoformat(advisories["date"])
    age = (today - day).days
    print(f"{len(versions)} packages looked up in {advisories['number']:,} advisories of {day} ({age} days old).")
    if age > OLD:
        print(f"That is too old to know of newer ones: renew it with `make advisories`. It is {copy}.")
    for line in wrong:
        print(line)
    sys.exit(bool(wrong))


def problems(
    versions: Mapping[str, str], advisories: Mapping[str, Any], exceptions: Sequence[Vulnerability], today: date
) -> list[str]:
    """Returns a line for each known vulnerability that is not accepted, and for each exception that is not needed.

    Args:
        versions: version by package.
        advisories: the records that name a package, by package.
        exceptions: what is accepted.
        today: on which exceptions may have ended.
    """
    open_ = {(each.package, each.id): each for each in exceptions}
    wrong = []
    for package, version in versions.items():
        for record in advisories.get(package, ()):
            if not affects(record, version):
                continue
            ids = [record["id"], *record["aliases"]]
            exception = next((found for id_ in ids if (found := open_.pop((package, id_), None))), None)
            if exception and exception.until >= today:
                continue
            ended = f" It was accepted until {exception.until}: {exception.reason}." if exception else ""
            fixed = (
                f"Fixed in {', '.join(record['fixed'])}: raise it, `make lock`." if record["fixed"] else "No fix yet."
            )
            named = " ".join(ids)
            wrong.append(f"{package} {version} is vulnerable: {named}. {record['summary']} {fixed}{ended}")
    needless = (f"{package} {id_} is accepted, and not found. Remove it from accepted.toml." for package, id_ in open_)
    return wrong + list(needless)


def affects(record: Mapping[str, Any], version: str) -> bool:
    """Whether a version is one of a record's, or lies in one of its ranges.

    Args:
        record: of the copy: `versions`, and `ranges` of events in order, each `introduced`, `fixed` or
            `last_affected`.
        version: of the package.
    """
    if version in record["versions"]:
        return True
    ours = Version(version)
    for events in record["ranges"]:
        inside = False
        for kind, at in sorted(events, key=_of_event):
            edge = _version(at)
            if kind == "introduced" and ours >= edge:
                inside = True
            elif (kind == "fixed" and ours >= edge) or (kind == "last_affected" and ours > edge):
                inside = False
        if inside:
            return True
    return False


def _of_event(event: Sequence[str]) -> tuple[Version, bool]:
    kind, at = event
    return _version(at), kind != "introduced"


def _version(at: str) -> Version:
    """A version of an event; one that no index could hold is before all."""
    try:
        return Version(at)
    except InvalidVersion:
        return Version("0.dev0")


def renew(source: str, copy: Path) -> None:
    """Makes the copy anew.

    Args:
        source: the URL of a zip, or a path of a zip or a folder.
        copy: the file to write.

    Raises:
        SystemExit: no record of a package of PyPI was found.
    """
    of: dict[str, list[dict[str, Any]]] = {}
    newest, number = "", 0
    for record in _records(source):
        if record.get("withdrawn"):
            continue
        packages = [each for each in record.get("affected", ()) if each.get("package", {}).get("ecosystem") == "PyPI"]
        number += bool(packages)
        if packages:
            newest = max(newest, str(record.get("modified", ""))[:10])
        for affected in packages:
            of.setdefault(canonicalize_name(affected["package"]["name"]), []).append(_shortened(record, affected))
    if not of:
        raise SystemExit(f"{source} holds no OSV records of PyPI's packages. The copy stays as it was.")
    content = json.dumps({"date": newest, "source": source, "number": number, "of": of}, sort_keys=True)
    copy.write_bytes(gzip.compress(content.encode(), mtime=0))
    print(f"{number:,} advisories of {newest} are in {copy}.")


def _shortened(record: Mapping[str, Any], affected: Mapping[str, Any]) -> dict[str, Any]:
    ranges = [each["events"] for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
    details = str(record.get("summary") or record.get("details") or "").strip()
    return {
        "id": record["id"],
        "aliases": sorted(record.get("aliases", ())),
        "summary": details.partition("\n")[0].partition(". ")[0][:160].rstrip(".") + "." if details else "",
        "ranges": [[[kind, str(at)] for event in events for kind, at in event.items()] for events in ranges],
        "versions": [str(version) for version in affected.get("versions", ())],
        "fixed": sorted({str(event["fixed"]) for events in ranges for event in events if "fixed" in event}),
    }


def _records(source: str) -> Iterator[dict[str, Any]]:
    if source.startswith("https://"):
        with urllib.request.urlopen(source, timeout=60) as answer:  # noqa: S310 - https alone
            yield from _in_zip(io.BytesIO(answer.read()))
    elif Path(source).is_dir():
        for path in sorted(Path(source).rglob("*")):
            if path.suffix in (".json", ".yaml"):
                yield from _record(path.suffix, path.read_bytes())
    else:
        yield from _in_zip(source)


def _in_zip(file: Any) -> Iterator[dict[str, Any]]:
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            yield from _record(Path(name).suffix, archive.read(name))


def _record(suffix: str, content: bytes) -> Iterator[dict[str, Any]]:
    if suffix == ".json":
        record = json.loads(content)
    elif suffix == ".yaml":
        record = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    else:
        return
    if isinstance(record, dict) and "id" in record:
        yield record


if __name__ == "__main__":
    main()
