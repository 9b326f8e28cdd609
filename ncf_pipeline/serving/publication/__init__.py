"""Publications in Redis: one complete set of lists, written under its own number, then pointed at.

    ncf:current                          the live publication, e.g. p000042
    ncf:p000042:meta                     hash
    ncf:p000042:customer:14646           hash of JSON lists
    ncf:p000042:product:85123A           likewise
    ncf:p000042:fallback:United Kingdom  likewise

and for the publishers alone:

    ncf:publications                     hash: what became of each number
    ncf:number                           the highest number that was ever given
    ncf:p000042:index                    hash: which keys the publication has, a thousand in a field
    ncf:p000042:writing                  is there while somebody writes it

A reader sees the lists before a publication or after it, never a mix: nothing under a live number is ever
written again, and `ncf:current` is set last, after all was read back. See `publishing` for what happens
when publishers are killed, or are two.
"""

from ncf_pipeline.serving.publication.publishing import (
    Published,
    flip,
    hold,
    live_publication,
    newest_number,
    publications,
    publish,
    renew,
)
from ncf_pipeline.serving.publication.store import name_of

__all__ = [
    "Published",
    "flip",
    "hold",
    "live_publication",
    "name_of",
    "newest_number",
    "publications",
    "publish",
    "renew",
]
