"""Headers that every answer has, errors and style sheets too.

They say what a page may load and run, which pages may frame it, and what a browser tells other sites.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def policy(*, framed_by: str = "'none'", **allowed: str) -> str:
    """Writes a Content-Security-Policy. A page loads, runs and sends nothing but what it names.

    Args:
        framed_by: which pages may show it in a frame.
        allowed: a directive and its sources.

    >>> policy(style_src="'self'")
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    """
    nothing = {"base_uri": "'none'", "form_action": "'none'"}
    directives = {"default_src": "'none'", **allowed, **{name: allowed.get(name, no) for name, no in nothing.items()}}
    directives["frame_ancestors"] = framed_by
    return "; ".join(f"{name.replace('_', '-')} {sources}" for name, sources in directives.items())


def headers(policy: str) -> dict[str, str]:
    """Returns the headers of a page with this Content-Security-Policy."""
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        # A page names its origin to its own site, so that a form can be checked, and names nothing to others.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


class SafeHeaders:
    """Middleware that adds to every answer the headers that it lacks."""

    def __init__(self, app: ASGIApp, *, policy: str) -> None:
        """Takes the application and the policy of answers that have none of their own: redirects, style sheets."""
        self._app = app
        self._headers = {name: value for name, value in headers(policy).items() if name != "Cache-Control"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    given.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, answer)
