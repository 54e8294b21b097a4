"""The HTTP session that every ccxt client of a broker shares: ccxt's requests in, aiohttp's requests out.

Kept apart from ccxt for three reasons: a session of its own costs every client 770 KiB, ccxt closes what it
owns, and aiohttp follows redirects, which would send a signed order a second time, perhaps to somebody else.
"""

import ssl
from typing import Any

import aiohttp
import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
import certifi

# Shorter than any server's: a connection closed under an order POST leaves its outcome unknown.
KEEPALIVE_SECONDS = 10.0
DNS_CACHE_SECONDS = 300


class SharedSession:
    """What ccxt needs of an `aiohttp.ClientSession`, without redirects; closed once, by who made it."""

    def __init__(self, proxy: str | None = None) -> None:
        """Must be called inside the event loop that will use it. `proxy`: an http(s) URL, or None."""
        self.ssl_context = ssl.create_default_context(cafile=certifi.where())
        connector = aiohttp.TCPConnector(
            ssl=self.ssl_context,
            limit=0,  # who serves the accounts bounds what is in flight; a queue here would only hide waiting
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
