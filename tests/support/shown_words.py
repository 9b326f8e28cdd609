"""What a person reads of a page."""

import html
import re


def words(response):
    """The text of a page, without its tags, programs and title."""
    shown = re.sub(r"<(script|title)\b.*?</\1>|<[^>]*>", " ", response.text, flags=re.DOTALL)
    return html.unescape(" ".join(shown.split()))
