"""Publications in Redis. Each is one complete set of lists, written under its own number, then pointed to.

    ncf:current                          the live publication, e.g. p000042
    ncf:p000042:meta                     hash
    ncf:p000042:customer:14646           hash of JSON lists
    ncf:p000042:product:85123A           hash of JSON lists
    ncf:p000042:fallback:United Kingdom  hash of JSON lists

and, for publishers only:

    ncf:publications                     hash: the state of each number
    ncf:number                           the highest number that was ever assigned
    ncf:p000042:index                    hash: the publication's keys, a thousand in each field
    ncf:p000042:writing                  exists while a publisher writes it

A reader sees the previous publication or the new one, never a mix: nothing under a live number is ever written
again, and `ncf:current` is set last, after everything was read back. `publishing` says what happens if a publisher is
killed, or if two run at once.
"""

from ncf_pipeline.serving.publication.functions import load_functions
from ncf_pipeline.serving.publication.presence import Presence
from ncf_pipeline.serving.publication.publishing import (
    Published,
    flip,
    hold,
    live_publication,
    memory,
    newest_number,
    present_keys,
    publications,
    publish,
    renew,
)
from ncf_pipeline.serving.publication.room import Room
from ncf_pipeline.serving.publication.store import name_of, number_of

__all__ = [
    "Presence",
    "Published",
    "Room",
    "flip",
    "hold",
    "live_publication",
    "load_functions",
    "memory",
    "name_of",
    "newest_number",
    "number_of",
    "present_keys",
    "publications",
    "publish",
    "renew",
]
