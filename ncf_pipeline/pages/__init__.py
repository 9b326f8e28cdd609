"""What the pages have in common: names, shelves, style, and what a browser may do with them.

Nothing on a page comes from another host, and what it holds of others is text.
"""

from pathlib import Path

from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

_FOLDER = Path(__file__).parent

HEADERS = {
    "Cache-Control": "no-store",
    # To itself a page says where it comes from, so that a form's origin can be told; to others nothing.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def templates(folder: Path) -> Jinja2Templates:
    """A page's own templates, and those that all share; everything in them is escaped."""
    return Jinja2Templates([folder / "templates", _FOLDER / "templates"])


def static_files(folder: Path) -> StaticFiles:
    """A page's own files, and the style that all share."""
    return StaticFiles(directory=folder / "static", packages=[(__name__, "static")])
