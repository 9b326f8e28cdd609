"""The one navigation of all pages under `/recommender`. A new page needs an entry here, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Entry:
    """A page in the navigation.

    Attributes:
        title: as the navigation shows it.
        address: relative to the root of the pages; empty for the overview.
        parts: how the addresses of pages begin that belong to it, such as `models/`.
    """

    title: str
    address: str
    parts: tuple[str, ...] = ()

    def leads_to(self, path: str) -> bool:
        """Whether a page, by its address relative to the root, is this one or belongs to it."""
        return path == self.address or any(path.startswith(part) for part in self.parts)


ENTRIES: Sequence[Entry] = (
    Entry("Overview", "", ("data-docs/",)),
    Entry("Now", "now"),
    Entry("Trends", "trends", ("trends-",)),
    Entry("Products", "products", ("products-",)),
    Entry("Versions", "versions", ("models/",)),
    Entry("Customers", "customer", ("customer-",)),
    Entry("Rules", "rules", ("rules-",)),
    Entry("Bundles", "bundles"),
    Entry("Experiments", "experiments", ("experiments-", "experiment-")),
    Entry("Quarantine", "quarantine", ("quarantine-",)),
    Entry("Runbook", "runbook"),
)
"""In the order of the navigation."""


def entry_of(path: str) -> Entry:
    """Returns the entry that a page stands under, by its address relative to the root; the overview if none does.

    >>> entry_of("rules-save").address, entry_of("products-why").address, entry_of("none").address
    ('rules', 'products', '')
    """
    return next((entry for entry in ENTRIES if entry.leads_to(path)), ENTRIES[0])


def navigation(path: str, root: str) -> Markup:
    """Renders the navigation, with a mark on the entry of the page that it stands on.

    Args:
        path: of that page, relative to the root, such as `models/v7`.
        root: how an address relative to the page leads to the root, such as `../`; empty or a whole path also does.
    """
    links = (
        Markup('<a href="{}"{}>{}</a>').format(
            root + entry.address or "./", Markup(' aria-current="page"') if entry.leads_to(path) else "", entry.title
        )
        for entry in ENTRIES
    )
    return Markup('<nav aria-label="Recommender">{}</nav>').format(Markup("").join(links))


def with_bar(page: str, path: str, root: str) -> str:
    """Returns a page that is stored as one file with the bar on top that leads back to the others.

    Args:
        page: its HTML, made from the base of all pages.
        path: its address relative to the root.
        root: how an address relative to the page leads to the root.
    """
    bar = Markup(
        '<a class="skip" href="#main">Skip to content</a>\n<header class="top"><div class="wide">'
        '<a class="brand" href="{}"><span class="mark" aria-hidden="true">R</span>Recommender</a>{}</div></header>'
    ).format(root, navigation(path, root))
    return page.replace("<body>", f"<body>\n{bar}", 1)
