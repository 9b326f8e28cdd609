"""A person's answer to "May this version serve?", asked after the gate and the refit if `NCF_APPROVAL` is on.

The DAG asks under Required Actions in Airflow's UI (`airflow.questions`), the command at its terminal
(`cli.approval`). The registry stores both answers in the same words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A yes or a no.

    Attributes:
        approved: whether the version may serve.
        by: who answered, as the registry names them.
        reason: why, if a reason was given.
    """

    approved: bool
    by: str
    reason: str | None = None

    def __str__(self) -> str:
        """As the registry stores it.

        >>> str(Answer(False, "anna (approval)", "too many umbrellas"))
        'rejected by anna (approval): too many umbrellas'
        """
        if self.approved:
            return f"approved by {self.by}" + (f": {self.reason}" if self.reason else "")
        return f"rejected by {self.by}: {self.reason or 'no reason given'}"


Ask = Callable[[int, Sequence[str]], Answer]
"""Asks a person about a version; gets its number and the gate's reasons."""


def person(name: str) -> str:
    """A person who answers, as the registry names them.

    >>> person("anna")
    'anna (approval)'
    """
    return f"{name} (approval)"
