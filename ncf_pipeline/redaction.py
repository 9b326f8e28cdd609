"""Texts without what opens a door: passwords in addresses, signatures and tokens in URLs, `password=` in DSNs.

This is the one masker. Every error of this package goes through it when it is made, and so do the command's log,
alerts, lineage, stored addresses and pages. It knows no settings: `Settings.without_secrets` also masks those that are
set.

It would rather mask too much. What somebody has mistyped cannot be parsed, and may be a password.
"""

import re
from urllib.parse import unquote

MASK = "***"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{1,30}"
_END = r"\s'\"<>`"  # of an address in a sentence

# An address from its scheme on. Passwords may have been written with spaces: an address that has a user and a colon
# goes on to its last @ on the line.
_ADDRESS = re.compile(rf"(?P<scheme>{_SCHEME}):(?P<slashes>//?)(?P<rest>[^{_END}]+(?:[^\n]{{0,200}}@[^{_END}]*)?)")
_PLAIN_HOST = re.compile(r"(?:[^:@\[\]]*|\[[0-9A-Fa-f:.%]*\])(?::\d*)?(?:,[^:@]*(?::\d*)?)*")
_EXAMPLE = "user:password"  # as messages say what to write
_WEB = ("http", "https", "file")

# user:password@host without a scheme, or with a damaged one.
_LOGIN = re.compile(
    rf"(?P<user>[^{_END}:/@]{{0,100}}):"
    rf"(?P<password>[^{_END}@:/][^{_END}@]{{0,500}}(?:@[^{_END}@/]{{1,100}}){{0,5}})@(?=[\w\[])"
)

_NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|\w{0,20}password|"
    r"\w{0,20}(?:secret|token|credential|access[-_]?key|api[-_]?key)\w{0,20}|sig|\w{0,20}signature|account[-_]?key|private[-_]?key|sas|auth(?:orization)?"
)
_PAIR = re.compile(
    rf"(?P<before>(?<![\w-])(?:[\w-]{{0,40}}-)?(?:{_NAMES})['\"]?\s*(?:=|:\s(?=['\"])|%3D)\s*)"
    r"(?P<value>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;,'\")\]}>]+)",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with whatever may be a password, a signature or a token replaced by `***`.

    >>> redacted("no answer from postgresql://ncf:p@ss/w#rd@db:5432/shop")
    'no answer from postgresql://ncf:***@db:5432/shop'
    >>> redacted("https://files.example/day.csv?part=2&X-Amz-Signature=4f3a"), redacted("host=db password='a b'")
    ('https://files.example/day.csv?part=2&X-Amz-Signature=***', 'host=db password=***')
    >>> redacted("s3://invoices/2011/day.csv"), redacted("mail anna@shop.example at 12:30")
    ('s3://invoices/2011/day.csv', 'mail anna@shop.example at 12:30')
    >>> redacted("nothing at http://127.0.0.1:8080: refused"), redacted("redis://ncf:secret: is no address")
    ('nothing at http://127.0.0.1:8080: refused', 'redis://ncf:***: is no address')
    """
    if "@" not in text and "=" not in text and ":" not in text:
        return text
    return _PAIR.sub(rf"\g<before>{MASK}", _LOGIN.sub(_without_login, _ADDRESS.sub(_without_userinfo, text)))


def redacted_location(location: str) -> str:
    """A file's path as it is; of its URL, what may be shown and stored.

    >>> redacted_location("/shop/a:b@c.csv"), redacted_location("https://anna:pw@shop.example/day.csv?sig=4f3a")
    ('/shop/a:b@c.csv', 'https://anna:***@shop.example/day.csv?sig=***')
    """
    return redacted(location) if "://" in location and not location.startswith("file://") else location


def has_secrets(location: str) -> bool:
    """Whether a file's URL holds a password, a signature or a token."""
    return redacted_location(location) != location


def secrets_of(address: str) -> set[str]:
    """The secrets in an address, as they are written there and decoded.

    >>> sorted(secrets_of("postgresql://ncf:p%40ss@db/shop?password=other"))
    ['other', 'p%40ss', 'p@ss']
    """
    found = {pair["value"].strip("'\"") for pair in _PAIR.finditer(address)}
    if "://" in address and "@" in address:
        user, colon, password = address.partition("://")[2].rpartition("@")[0].partition(":")
        found.add(password if colon else user)
    return {text for each in found for text in (each, unquote(each)) if text}


def _without_userinfo(found: re.Match[str]) -> str:
    scheme, slashes, rest = found["scheme"], found["slashes"], found["rest"]
    authority = re.split(r"[/?#\s]", rest, maxsplit=1)[0].rstrip(".,:;")  # which may belong to the sentence
    user, colon, _ = authority.partition(":")
    is_web = scheme.lower().rpartition("+")[2] in _WEB
    if _PLAIN_HOST.fullmatch(authority) and "@" not in rest.split()[0]:
        return found[0]
    if "@" not in authority and (_PLAIN_HOST.fullmatch(authority) if is_web or "@" not in rest else not colon):
        # A host, perhaps with a port. Any @ is in the path.
        return found[0]
    if "@" not in rest:
        # user:password without a host, or a port that is no number
        return f"{scheme}:{slashes}{user}:{MASK}{rest[len(authority) :]}" if colon else found[0]
    before, _, host = rest.rpartition("@")
    # Where spaces follow the address itself, a later @ may belong to the sentence.
    if "@" in authority and re.search(r"\s", before):
        before, _, host = authority.rpartition("@")
        host += rest[len(authority) :]
    if before == _EXAMPLE:
        return found[0]
    user, colon, _ = before.partition(":")
    # A user without a password may itself be a token.
    return f"{scheme}:{slashes}{user + ':' if colon else ''}{MASK}@{host}"


def _without_login(found: re.Match[str]) -> str:
    return found[0] if found[0] == f"{_EXAMPLE}@" else f"{found['user']}:{MASK}@"
