"""The runbook as a page: an alert's section is one click away, wherever the file lies."""

from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt

from ncf_pipeline.alerts.kinds import anchor_of
from ncf_pipeline.storage.resources import resource


@cache
def runbook() -> str:
    """`docs/runbook.md` as HTML. What it holds of HTML is text, and its headings have the anchors that alerts name."""
    parser = MarkdownIt("commonmark", {"html": False})
    tokens = parser.parse(resource("docs", "runbook.md").read_text())
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor_of(heading.content))
        for inner in heading.children or ():
            # To other documents, which are not here.
            if inner.type == "link_open" and not str(inner.attrGet("href")).startswith("#"):
                inner.tag, inner.attrs = "span", {}
            elif inner.type == "link_close":
                inner.tag = "span"
    return str(parser.renderer.render(tokens, parser.options, {}))
