"""Who is in which group of an experiment: a salted hash of the id, so that no table is needed and nobody ever changes.

The hash of an id is as good as a draw for everybody who does not know the salt, and another salt draws anew, so that
two experiments do not find the same customers in their groups (Kohavi, Tang & Xu 2020, "Trustworthy Online Controlled
Experiments", chapter 4).
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def fraction(salt: str, customer_id: int) -> float:
    """Where a customer lies in [0, 1), evenly spread over ids, the same for ever.

    >>> fraction("spring", 14646) == fraction("spring", 14646), fraction("spring", 14646) == fraction("autumn", 14646)
    (True, False)
    """
    digest = blake2b(f"{salt}:{customer_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)  # as many bits as a float holds, so that 1 is not reached


def chosen(salt: str, share: float, customer_ids: Iterable[int]) -> Mask:
    """Which customers are in the share for whom something is done otherwise.

    Args:
        salt: of the experiment.
        share: of all customers, 0 to 1.
        customer_ids: whom to ask about.

    Returns:
        (customers,) in their order.
    """
    return np.fromiter((fraction(salt, customer) < share for customer in customer_ids), np.bool_)
