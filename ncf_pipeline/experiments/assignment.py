"""Assigns customers to groups by a salted hash of their id: no table is needed, and no customer changes groups.

Without the salt, the hash of an id is as good as a random draw. Another salt draws anew, so the groups of two
experiments are independent (Kohavi, Tang & Xu 2020, "Trustworthy Online Controlled Experiments", chapter 4).
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

SHARE = "share"
"""Marks lists that were made for an experiment's share; see `columns.Lists.GROUP`."""


def fraction(salt: str, customer_id: str) -> float:
    """A number in [0, 1), uniform over customers and always the same for one customer.

    >>> fraction("spring", "14646") == fraction("spring", "14646")
    True
    >>> fraction("spring", "14646") == fraction("autumn", "14646")
    False
    """
    digest = blake2b(f"{salt}:{customer_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)  # as many bits as a float holds, so never 1


def chosen(salt: str, share: float, customer_ids: Iterable[str]) -> Mask:
    """Whether each customer is in an experiment's share.

    Args:
        salt: of the experiment.
        share: of all customers, 0 to 1.
        customer_ids: n ids.

    Returns:
        (n,) in the order of the ids.

    >>> chosen("spring", 0.5, ["14646", "14647", "14648"]).tolist()
    [False, True, True]
    """
    return np.fromiter((fraction(salt, customer) < share for customer in customer_ids), np.bool_)
