"""Sends the requests of all alpaca-py clients of a process over shared connections, with limits on each reply.

alpaca-py sends through `client._session.request` without any timeout, and a session of its own for each client. This
stands in its place: one pool of connections, keys only in the headers of each request, no cookies, no redirects (a
signed order would go elsewhere), no environment proxies, a time and a size within which the reply must be there.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from time import monotonic, time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

from shared.brokers.clock import BrokerClock

MOST_BODY_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_ERRORS, _REDIRECTS = 400, 300


class ReplyUnusable(requests.RequestException):
    """A redirect, or a reply that is too long or took too long: what it would have said is not known."""


class AlpacaReply:
    """What alpaca-py uses of a `requests.Response`. JSON numbers stay text: no amount is ever a binary float."""

    __slots__ = ("_body", "headers", "request", "status_code")

    def __init__(self, response: requests.Response, body: bytes) -> None:
        self.status_code = response.status_code
        self.headers = response.headers
        self.request = response.request
        self._body = body

    @property
    def text(self) -> str:
        return self._body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self._body, parse_float=str)

    def raise_for_status(self) -> None:
        if self.status_code >= _ERRORS:
            raise requests.HTTPError(f"HTTP {self.status_code}", response=self)


class Transport:
    """What alpaca-py needs of a `requests.Session`. Safe to use from many threads."""

    def __init__(self, *, proxy: str | None, timeout_seconds: float, connections: int) -> None:
        """`timeout_seconds` is for a whole request; `connections` is how many stay open for the next one."""
        self.clock = BrokerClock()
        self._timeout_seconds = timeout_seconds
        self._thread = threading.local()
        session = requests.Session()
        session.trust_env = False  # a .netrc would replace the key, a proxy of the environment would see it
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if proxy:
            session.proxies = {"http": proxy, "https": proxy}
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        self._session = session

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Requests that this thread sends inside may take so long at the most."""
        self._thread.seconds = min(seconds, self._timeout_seconds)
        try:
            yield
        finally:
            del self._thread.seconds

    def request(self, method: str, url: str, **options: Any) -> AlpacaReply:
        """Send one request, once. Raises requests.RequestException."""
        seconds = getattr(self._thread, "seconds", self._timeout_seconds)
        ends_at, sent_at = monotonic() + seconds, time()
        options |= {"allow_redirects": False, "timeout": Timeout(total=seconds), "stream": True}
        with self._session.request(method, url, **options) as response:
            self.clock.observe(response.headers.get("Date"), sent_at, time())
            body = _whole_body(response, ends_at)
        if _REDIRECTS <= response.status_code < _ERRORS:
            raise ReplyUnusable(f"HTTP {response.status_code}: a redirect, which is not followed")
        return AlpacaReply(response, body)

    def close(self) -> None:
        self._session.close()


def _whole_body(response: requests.Response, ends_at: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise ReplyUnusable(f"the reply is longer than {MOST_BODY_BYTES} bytes")
        if monotonic() > ends_at:
            raise ReplyUnusable("the reply was not complete in time")
    return bytes(body)
