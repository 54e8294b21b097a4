"""Tests that each broker's own clock is measured from its replies, and used where a request carries a time.

A proxy moves the time that the broker sees and shows: it is the broker of a machine whose clock is wrong.
"""

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from time import time

import pytest
from aiohttp import web

from shared.brokers.errors import BrokerError
from shared.brokers.port.connection import NonceSource
from shared.brokers.registry import connect
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader
from tests.contract.test_contract_publishing import Proxy, proxy_to
from tests.contract.times import VALID_SECONDS


@pytest.mark.parametrize("seconds", [-5, 5])
async def test_the_offset_of_the_brokers_clock_is_measured_from_a_reply(
    terms: Terms, trader: Trader, nonces: NonceSource, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One signed request is enough for a second's precision, and none is sent for it."""
    passed_on = Proxy.handle

    async def shifted(proxy: Proxy, request: web.BaseRequest) -> web.StreamResponse:
        reply = await passed_on(proxy, request)
        now = datetime.now(UTC).timestamp() + seconds
        reply.headers["Date"] = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
        return reply

    monkeypatch.setattr(Proxy, "handle", shifted)
    async with proxy_to(trader.paper.url) as proxy:
        connection = connect(
            terms.broker, base_url=proxy.url, nonces=nonces, markets_key=trader.credentials, request_timeout_seconds=5
        )
        await connection.open()
        account = connection.account(trader.credentials)
        before = len(proxy.seen)
        await account.balances()
        assert connection.clock.offset_seconds == pytest.approx(seconds, abs=1.5)
        assert len(proxy.seen) - before <= 3  # Alpaca reads the positions between two readings of the cash.
        await connection.close()


AHEAD_SECONDS = 30


async def test_the_times_in_an_order_are_the_brokers(terms: Terms, trader: Trader, nonces: NonceSource) -> None:
    """The broker's clock is 30 s ahead. By our own clock it would refuse the order as too late or too early."""
    if terms.times_in_order is None:
        pytest.skip("requests carry no time")
    async with proxy_to(trader.paper.url) as proxy:
        connection = connect(terms.broker, base_url=proxy.url, nonces=nonces, request_timeout_seconds=5)
        await connection.open()
        now = time()
        connection.clock.observe(
            format_datetime(datetime.fromtimestamp(now + AHEAD_SECONDS, UTC), usegmt=True), now, now
        )
        with suppress(BrokerError):  # the paper broker's clock is ours
            await connection.account(trader.credentials).place(trader.order(valid_for_seconds=VALID_SECONDS))
        headers, content = proxy.sent[-1]
        for at in terms.times_in_order(headers, content):
            assert at == pytest.approx(time() + AHEAD_SECONDS, abs=2.5)
        await connection.close()
