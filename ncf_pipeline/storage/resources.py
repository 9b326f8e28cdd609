"""The files that come with the package but are not Python: SQL, expectations, DAGs.

In a checkout they are top-level folders; in an installed wheel they lie in `ncf_pipeline/_resources`.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_ROOT = _PACKAGE / "_resources" if (_PACKAGE / "_resources").is_dir() else _PACKAGE.parent


def resource(*parts: str) -> Path:
    """The path of a file or folder that comes with the package, e.g. `resource("sql", "migrations")`."""
    return _ROOT.joinpath(*parts)


def query(name: str) -> str:
    """The text of `sql/queries/NAME.sql`."""
    return resource("sql", "queries", f"{name}.sql").read_text()
