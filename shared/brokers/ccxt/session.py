"""Sends the requests of all ccxt clients of a broker through one shared aiohttp session.

It is separate from ccxt for three reasons. A session for each client costs 770 KiB. ccxt closes what it owns. aiohttp
follows redirects, which would send a signed order a second time, perhaps to another server.
"""

import ssl
from typing import Any

import aiohttp
import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
import certifi

# Shorter than any server's limit: a connection that closes during an order POST leaves its outcome unknown.
KEEPALIVE_SECONDS = 10.0
# When a broker moves to other addresses, nija must follow within seconds. The old address may answer with errors.
DNS_CACHE_SECONDS = 10


class SharedSession:
    """The part of an `aiohttp.ClientSession` that ccxt needs, without redirects. Its creator closes it once."""

    def __init__(self, proxy: str | None = None) -> None:
        """Must be called inside the event loop that will use it. `proxy`: an http(s) URL, or None."""
        self.ssl_context = ssl.create_default_context(cafile=certifi.where())
        connector = aiohttp.TCPConnector(
            ssl=self.ssl_context,
            limit=0,  # the process that serves the accounts bounds its requests; a queue here would only hide waiting
            keepalive_timeout=KEEPALIVE_SECONDS,
            ttl_dns_cache=DNS_CACHE_SECONDS,
        )
        self._session = aiohttp.ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar())
        self.headers = self._session.headers

    def get(self, url: Any, **arguments: Any) -> Any:
        return self._open().get(url, allow_redirects=False, **arguments)

    def post(self, url: Any, **arguments: Any) -> Any:
        return self._open().post(url, allow_redirects=False, **arguments)

    def put(self, url: Any, **arguments: Any) -> Any:
        return self._open().put(url, allow_redirects=False, **arguments)

    def delete(self, url: Any, **arguments: Any) -> Any:
        return self._open().delete(url, allow_redirects=False, **arguments)

    def _open(self) -> aiohttp.ClientSession:
        if self._session.closed:
            raise ccxt.ExchangeClosedByUser("the connection was closed, so nothing was sent")
        return self._session

    async def close(self) -> None:
        await self._session.close()
