"""The runbook as a page, so that a link leads from an alert to its section."""

from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt

from ncf_pipeline.alerts.kinds import anchor_of
from ncf_pipeline.storage.resources import resource


@cache
def runbook() -> str:
    """Returns `docs/runbook.md` as HTML. HTML in it is shown as text; its headings have the anchors that alerts use."""
    parser = MarkdownIt("commonmark", {"html": False})
    tokens = parser.parse(resource("docs", "runbook.md").read_text())
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor_of(heading.content))
        for inner in heading.children or ():
            # A link to another document leads nowhere here: show its text.
            if inner.type == "link_open" and not str(inner.attrGet("href")).startswith("#"):
                inner.tag, inner.attrs = "span", {}
            elif inner.type == "link_close":
                inner.tag = "span"
    return str(parser.renderer.render(tokens, parser.options, {}))
