"""Lists the licences of the locked packages, as the installed packages state them, in docs/licences.md.

`--check` changes nothing: it fails if the list is not that of the lock, or if a licence is not accepted.
"""

import argparse
import importlib.metadata
import re
import sys
from collections.abc import Mapping, Sequence

from lock import PROJECT, Licence, accepted, locked

LIST = PROJECT / "docs" / "licences.md"

# Their terms reach what is linked with them, or whoever offers it as a service. The LGPL's do not reach what calls it.
FORBIDDEN = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public|Affero|SSPL|Server Side Public|BUSL|Business Source"
                       r"|Commons Clause|Elastic|NonCommercial|Proprietary|EUPL|CC-BY-NC", re.IGNORECASE)  # fmt: skip
LESSER = re.compile(r"LGPL|Lesser General Public", re.IGNORECASE)

SHORT = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "The Unlicense (Unlicense)": "Unlicense",
    "3-Clause BSD License": "BSD-3-Clause",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "Apache": "Apache-2.0",
}

HEAD = """# Licences of the dependencies

`make licences` writes this list from what the installed packages state. `make lint` fails if it is not that of
`requirements*.lock`, or if a licence is one that a shop may not use for what it links: GPL, AGPL, SSPL, BUSL and their
like. The project itself is under Apache-2.0. A wheel may hold libraries of others, under terms that its own metadata
does not name.
"""


def main() -> None:
    """Writes the list, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if something is wrong")
    arguments = parser.parse_args()
    versions, (_, exceptions) = locked(), accepted()
    stated = {package: licence for package in versions if (licence := stated_by(package)) is not None}
    wrong = problems(stated, exceptions)
    if arguments.check:
        wrong += differences(listed(LIST.read_text()), versions, licences(stated, exceptions))
    else:
        # Some packages are for other Pythons or systems than this one: what was known of them stays.
        known = {package: licence for package, (version, licence) in listed(LIST.read_text()).items()
                 if versions.get(package) == version}  # fmt: skip
        LIST.write_text(written(versions, known | licences(stated, exceptions), exceptions))
    for line in wrong:
        print(line)
    print(f"{len(versions)} packages, {len(stated)} of them installed here; licences in docs/{LIST.name}.")
    sys.exit(bool(wrong))


def stated_by(package: str) -> str | None:
    """Returns the licence that an installed package states, empty if it states none; None if it is not installed."""
    try:
        about = importlib.metadata.metadata(package).json
    except importlib.metadata.PackageNotFoundError:
        return None
    if "license_expression" in about:
        return str(about["license_expression"])
    named = [each.split(" :: ")[-1] for each in about.get("classifier", ()) if each.startswith("License ::")]
    named = [each for each in named if each not in ("OSI Approved", "DFSG approved")]
    free = str(about.get("license", "")).strip().partition("\n")[0]
    return " / ".join(SHORT.get(each, each) for each in named) or SHORT.get(free, free)


def problems(stated: Mapping[str, str], exceptions: Sequence[Licence]) -> list[str]:
    """Returns a line for each licence that is not accepted, and for each exception that is not needed."""
    open_ = {each.package: each for each in exceptions}
    wrong = []
    for package, licence in stated.items():
        if licence and not FORBIDDEN.search(LESSER.sub("", licence)):
            continue
        if open_.pop(package, None) is None:
            what = f"is under {licence}" if licence else "states no licence"
            wrong.append(f"{package} {what}. Replace it, or give the reason in dependencies/accepted.toml.")
    # What is not installed here cannot be known.
    return wrong + [
        f"{each} is accepted, and need not be. Remove it from accepted.toml." for each in open_ if each in stated
    ]


def licences(stated: Mapping[str, str], exceptions: Sequence[Licence]) -> dict[str, str]:
    """Returns the licence of each installed package: that of an exception, or else what it states."""
    return {**stated, **{each.package: each.licence for each in exceptions if each.package in stated}}


def listed(text: str) -> dict[str, tuple[str, str]]:
    """Reads the list: version and licence by package."""
    rows = re.findall(r"^\| ([a-z0-9.-]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    return {package: (version.strip(), licence.strip()) for package, version, licence in rows[2:]}


def differences(
    listed: Mapping[str, tuple[str, str]], versions: Mapping[str, str], licences: Mapping[str, str]
) -> list[str]:
    """Returns a line for each package whose version or licence is not the one listed."""
    gone = [f"{package} is listed, and not locked." for package in listed if package not in versions]
    others = [
        f"{package} {version} is listed as {' under '.join(listed.get(package, ('nothing',)))}."
        for package, version in versions.items()
        if package not in listed
        or listed[package][0] != version
        or listed[package][1] != licences.get(package, listed[package][1])
    ]
    return [f"{line} Write the list again: `make licences`." for line in gone + others]


def written(versions: Mapping[str, str], licences: Mapping[str, str], exceptions: Sequence[Licence]) -> str:
    """Writes the list as Markdown."""
    rows = [
        f"| {package} | {version} | {licences.get(package, 'not installed here')} |"
        for package, version in versions.items()
    ]
    reasons = [f"- **{each.package}** ({each.licence}): {each.reason}." for each in exceptions]
    table = ["| package | version | licence |", "| --- | --- | --- |", *rows]
    return "\n".join([HEAD, "## Exceptions", *reasons, "", "## All of them", *table, ""])


if __name__ == "__main__":
    main()
