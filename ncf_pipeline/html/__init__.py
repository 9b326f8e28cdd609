"""The template engine, the base and the style of every page.

A page that a server answers links its style sheets. A page that is one file holds the same style inside.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent

STATIC = (__name__, "static")
"""Package and folder of the shared style sheet, as `StaticFiles` takes them."""


def environment(*folders: Path) -> Environment:
    """Makes an environment that finds templates in these folders and then among the shared ones.

    Every value is escaped, and a name that the caller did not pass is an error.
    """
    return Environment(
        loader=FileSystemLoader([*folders, _FOLDER / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_file(folder: Path, template: str, **values: Any) -> str:
    """Renders a page as one HTML file that loads nothing: its style is inside.

    Args:
        folder: the folder of the template.
        template: the file's name; it extends `base.html`.
        values: what the template shows.
    """
    return _environment(folder).get_template(template).render(**values, style=_style())


@cache
def _environment(folder: Path) -> Environment:
    return environment(folder)


@cache
def _style() -> Markup:
    return Markup((_FOLDER / "static" / "style.css").read_text())  # noqa: S704 - our own file
