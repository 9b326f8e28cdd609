"""What the pages of the Recommender and of the demo shop share.

A page loads nothing from another host, and shows names from invoices as text.
"""

from pathlib import Path

from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from ncf_pipeline import html
from ncf_pipeline.pages import locales

_FOLDER = Path(__file__).parent


def templates(folder: Path) -> Jinja2Templates:
    """Finds templates in `folder`, among those that both sites share, and then the base of all pages."""
    environment = html.environment(folder / "templates", _FOLDER / "templates")
    environment.filters.update(locales.FILTERS)
    return Jinja2Templates(env=environment)


def static_files(folder: Path) -> StaticFiles:
    """Serves the style sheets and scripts of `folder`, those that both sites share, and the style of all pages."""
    return StaticFiles(directory=folder / "static", packages=[(__name__, "static"), html.STATIC])
