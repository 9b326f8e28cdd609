"""The package's files that are not Python: SQL, expectations, DAGs, the runbook.

A checkout has them in top-level folders, an installed wheel in `ncf_pipeline/_resources`.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_ROOT = _PACKAGE / "_resources" if (_PACKAGE / "_resources").is_dir() else _PACKAGE.parent


def resource(*parts: str) -> Path:
    """The path of such a file or folder, as in `resource("sql", "migrations")`."""
    return _ROOT.joinpath(*parts)


def query(name: str) -> str:
    """The text of `sql/queries/NAME.sql`."""
    return resource("sql", "queries", f"{name}.sql").read_text()
