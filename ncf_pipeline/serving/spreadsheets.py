"""CSV files that people open in a spreadsheet."""

from typing import TypeVar

Cell = TypeVar("Cell")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would run."""


def unrun(cell: Cell) -> Cell | str:
    """A cell that no spreadsheet runs: a text that begins like a formula gets an apostrophe in front.

    >>> unrun("=1+1"), unrun("14646"), unrun(-1), unrun(None)
    ("'=1+1", '14646', -1, None)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
