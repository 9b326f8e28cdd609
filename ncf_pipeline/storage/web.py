"""The client of web servers: a redirect leads nowhere dangerous, and no answer fills the memory.

A redirect is followed from http or https to the same, but not from https to http. It leads into a private network only
if the first address named that host, or `NCF_PRIVATE_HOSTS` does. No address at all may be link-local: there, the
machines of a cloud find their own credentials. What is checked is the address that is connected to, not a name that may
have another address a moment later.
"""

import ipaddress
import socket
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult

from ncf_pipeline.settings import load_settings
from ncf_pipeline.storage.faults import RefusedAddressError

_MOST_AT_ONCE = 64 << 20
"""Bytes of an answer that is taken as a whole, such as a list of files. A file is read piece by piece."""

_SCHEMES = ("http", "https")
_OF_CLOUDS = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Where clouds tell machines their credentials, beside the link-local 169.254.169.254."""

_named: ContextVar[frozenset[str] | None] = ContextVar("_named", default=None)
"""After a redirect: the hosts that may be in a private network. None before one."""


async def client(**options: Any) -> aiohttp.ClientSession:
    """A session for fsspec, which closes it."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(_begin)
    trace.on_request_redirect.append(_follow)
    return aiohttp.ClientSession(
        **options,
        # Without a cache: what may be asked first may not be what a redirect may lead to.
        connector=aiohttp.TCPConnector(resolver=_Resolver(), use_dns_cache=False, force_close=True),
        response_class=_Response,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60),
        trace_configs=[trace],
    )


class _Resolver(aiohttp.ThreadedResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for each in found:
            _check(host, each["host"])
        return found


class _Response(aiohttp.ClientResponse):
    async def read(self) -> bytes:
        if self._body is None:
            parts, size = [], 0
            async for part in self.content.iter_any():
                size += len(part)
                if size > _MOST_AT_ONCE:
                    self.close()
                    raise RefusedAddressError(f"the server answers with more than {_MOST_AT_ONCE >> 20} MB at once")
                parts.append(part)
            self._body = b"".join(parts)
        return await super().read()


async def _begin(_: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
    context.first = request.url.host or ""
    _named.set(None)
    _check_if_literal(context.first)


async def _follow(
    _: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestRedirectParams
) -> None:
    response = request.response
    location = response.headers.get("Location") or response.headers.get("URI")
    if location is None:
        return
    target = response.url.join(type(response.url)(location))
    if target.scheme not in _SCHEMES or (response.url.scheme, target.scheme) == ("https", "http"):
        raise RefusedAddressError(f"the server redirects from {response.url.scheme} to {target.scheme}")
    _named.set(frozenset({context.first, *load_settings().private_hosts.split()}))
    _check_if_literal(target.host or "")


def _check_if_literal(host: str) -> None:
    """Checks a host that is an address: no resolver is asked for it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    _check(host, host)


def _check(host: str, address: str) -> None:
    number = ipaddress.ip_address(address)
    number = getattr(number, "ipv4_mapped", None) or number
    if number.is_link_local or number in _OF_CLOUDS:
        raise RefusedAddressError(f"{host} is an address inside the machine's own network ({number})")
    named = _named.get()
    if named is not None and host not in named and not number.is_global:
        raise RefusedAddressError(
            f"the server redirects to {host} in a private network ({number}); NCF_PRIVATE_HOSTS does not allow it"
        )
