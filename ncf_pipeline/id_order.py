"""The order of customer ids, which are text: shorter ids first, ids of one length by their characters.

Ids that are numbers keep the order of the numbers, so a shop that has such ids gets the results that it got when ids
were stored as numbers. In Postgres the order is `length(customer_id), customer_id collate "C"`.
"""

from collections.abc import Iterable


def rank(customer_id: str) -> tuple[int, str]:
    """What to sort ids by.

    >>> sorted(["10", "9", "C-7", "09"], key=rank)
    ['9', '09', '10', 'C-7']
    """
    return len(customer_id), customer_id


def in_order(customer_ids: Iterable[str]) -> list[str]:
    """The ids in ascending order.

    >>> in_order({"14646", "ann@example.com", "999"})
    ['999', '14646', 'ann@example.com']
    """
    return sorted(customer_ids, key=rank)
