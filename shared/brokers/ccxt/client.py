"""Defines what our ccxt clients share: one template client per process, and a cheap copy of it per account.

Building a new client costs 10 ms. A copy shares markets, session and describe() tables with its template. It owns
only what differs between accounts: keys, options, headers, caches, throttler.
"""

import copy
import json
import logging
from asyncio import AbstractEventLoop
from contextvars import ContextVar
from functools import partial
from time import time
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.base.throttler import Throttler  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.errors import AccountBackOff
from shared.brokers.ccxt.session import SharedSession
from shared.brokers.clock import BrokerClock
from shared.brokers.errors import RateLimited
from shared.brokers.limits import Budget
from shared.domain.accounts.credentials import Credentials

# At DEBUG, ccxt logs headers and bodies together with keys and signatures. This logger never goes that low.
_LOGGER = logging.getLogger("nija.ccxt")
_LOGGER.setLevel(logging.WARNING)

# What ccxt collects on an instance. If these were shared, one account would see another account's data.
_CACHES = (
    "balance",
    "orderbooks",
    "fundingRates",
    "tickers",
    "bidsasks",
    "trades",
    "transactions",
    "ohlcvs",
    "loadedFees",
)


request_sent_at: ContextVar[float | None] = ContextVar("sent_at", default=None)
"""When the signed request of this task was sent, in seconds since 1970; None: it is not signed."""


class SharedClient:
    """Mixed into a ccxt class. It never closes anything that it does not own."""

    clock: BrokerClock
    """The broker's clock, which all accounts of a connection share."""
    budget: Budget | None = None
    """The limit on requests to the broker; None means that requests are not counted."""

    async def fetch2(
        self, path: Any, api: Any = "public", method: Any = "GET", params: Any = None, config: Any = None
    ) -> Any:
        """Send one request, within the limits that all processes share. Raises Throttled before anything is sent."""
        parameters = {} if params is None else params

        async def send(*arguments: Any) -> Any:
            # Replies to public requests may come from a cache, with an old time.
            token = request_sent_at.set(time() if _is_signed(api) else None)
            try:
                return await super(SharedClient, self).fetch2(*arguments)  # type: ignore[misc]  # of the ccxt class
            finally:
                request_sent_at.reset(token)

        if self.budget is None:
            return await send(path, api, method, parameters, config or {})
        side = "private" if _is_signed(api) else "public"
        charges = self.budget.charges(side, method, path, parameters)
        await self.budget.spend(charges)
        try:
            return await send(path, api, method, parameters, config or {})
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            seconds = getattr(error, "retry_after_seconds", RateLimited.DEFAULT_WAIT_SECONDS)
            # A ban also holds for a limit that the request would have cost nothing.
            charges += self.budget.charges_of_refusal(side, method, path, parameters)
            await self.budget.refused(charges, seconds, of_account_only=isinstance(error, AccountBackOff))
            raise
        except ccxt.BaseError:
            await self.budget.limits.count(self.budget.charges_of_refusal(side, method, path, parameters))
            raise

    def on_rest_response(
        self, code: Any, reason: Any, url: Any, method: Any, headers: Any, body: Any, *_request: Any
    ) -> Any:
        """Read the broker's time from the reply, before ccxt raises for an error in it."""
        sent_at = request_sent_at.get()
        if sent_at is not None:
            date = next((value for name, value in headers.items() if name.lower() == "date"), None)
            self.clock.observe(date, sent_at, time())
        return super().on_rest_response(code, reason, url, method, headers, body, *_request)  # type: ignore[misc]

    # JSON numbers stay text, so that no amount is ever a binary float. ccxt accepts text wherever it reads numbers.
    on_json_response = staticmethod(partial(json.loads, parse_float=str))

    def __del__(self) -> None:
        """Override ccxt's warning: the session belongs to the connection, which closes it."""


def _is_signed(api: Any) -> bool:
    """Whether a ccxt endpoint (`private`, `sapi`, `["v3", "private"]`) needs a key."""
    return "private" in api or "sapi" in api


def template_settings(
    session: SharedSession, loop: AbstractEventLoop, request_timeout_seconds: float
) -> dict[str, Any]:
    """The settings that every template client is built with."""
    return {
        "session": session,
        "asyncio_loop": loop,
        "ssl_context": session.ssl_context,
        "timeout": int(request_timeout_seconds * 1000),
        "timeout_on_exit": 0,
        "number": str,
        "enableRateLimit": False,  # a limit in one process knows nothing of the others
        "maxRetriesOnFailure": 0,
        "enableLastHttpResponse": False,
        "enableLastResponseHeaders": False,
        "logger": _LOGGER,
        "options": {"maxRetriesOnFailure": 0},  # ccxt would send an order POST again
    }


def copy_for_account(template: Any, credentials: Credentials) -> Any:
    """A client of `template`'s class that signs with these keys. It shares no account's state with other clients."""
    client = copy.copy(template)
    client.apiKey = credentials.api_key.get_secret_value()
    client.secret = credentials.api_secret.get_secret_value()
    if credentials.passphrase is not None:
        client.password = credentials.passphrase.get_secret_value()
    client.options = dict(template.options)
    client.headers = dict(template.headers)
    client.throttler = Throttler(template.tokenBucket, template.asyncio_loop)
    for name in _CACHES:
        setattr(client, name, {})
    client.orders = client.myTrades = client.positions = None
    client.last_request_headers = client.last_request_body = client.last_request_url = None
    return client
