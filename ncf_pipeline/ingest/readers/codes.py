"""One spelling for each code: what programs add to a code around its characters, and what nobody sees, is taken off."""

import polars as pl

_UNUSUAL = r"^\s*[='\"]|[^\x00-\x7f]"

_UNSEEN = "[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
"""Soft hyphens, zero-width characters, marks of direction, variants of glyphs."""

_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_WIDE = [chr(code) for code in range(0xFF01, 0xFF5F)]
_NARROW = [chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)]

LOOK_ALIKES = "АВЕЅЗІЈКМНОРСТУХаеѕіјкорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"
"""Letters of Cyrillic and Greek that look like Latin ones."""


def normalised(codes: pl.Series) -> pl.Series:
    r"""Codes in one spelling; null if nothing is left.

    `="00123"` and `'00123` are how a person keeps Excel from turning 00123 into a number. Characters that nobody sees
    come with copied text. Wide digits are the same digits. Letters that only look alike stay what they are.

    >>> normalised(pl.Series(['="00123"', "'00123", "00123\u200b", "0012\uff13"])).to_list()
    ['00123', '00123', '00123', '00123']
    """
    if not codes.str.contains(_UNUSUAL).any():
        return codes
    return (
        codes.str.replace_all(_UNSEEN, "")
        .str.replace_many([*_WIDE, *_SPACES], [*_NARROW, *[" "] * len(_SPACES)])
        .str.strip_chars()
        .str.replace(r'^="(.*)"$', "${1}")
        .str.replace(r"^'(.*[^'])$", "${1}")
        .str.strip_chars()
        .replace("", None)
    )
