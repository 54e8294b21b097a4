"""Tests when the Alpaca gateway calls the market of a symbol closed, and that its limit prices follow the listed ticks."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.alpaca import hours
from shared.brokers.errors import OutcomeUnknown, Throttled
from shared.brokers.port.account import BrokerAccount, HasTradingHours
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import LimitOrder
from shared.brokers.registry import connect
from shared.domain.identity import Broker
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import CREDENTIALS, PLACE, error_reply, market_order, order_reply
from tests.unit.shared.brokers.conftest import CountingNonces

CLOCK = "GET /v2/clock"
STOCK, COIN = Symbol("AAPL", "USD"), Symbol("BTC", "USD")
OPENS_AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def clock_reply(*, is_open: bool, changes_in: timedelta = timedelta(hours=1), **more: Any) -> dict[str, Any]:
    """Alpaca's clock in New York, which is some years behind ours."""
    change = OPENS_AT.isoformat()
    return {
        "timestamp": (OPENS_AT - changes_in).isoformat().replace("+00:00", "Z"),
        "is_open": is_open,
        "next_open": "2026-01-05T09:30:00-05:00" if not is_open else "2026-01-06T09:30:00-05:00",
        "next_close": change if is_open else "2026-01-05T16:00:00-05:00",
        **more,
    }


@pytest.fixture
def trading(account: BrokerAccount) -> HasTradingHours:
    """The account, which knows about trading hours."""
    assert isinstance(account, HasTradingHours)
    return account


async def test_stocks_are_closed_until_the_next_opening(server: RecordingServer, trading: HasTradingHours) -> None:
    """Coins trade day and night, so nothing is asked for them. The reply counts for all accounts for some minutes."""
    server.answers[CLOCK] = clock_reply(is_open=False)
    assert await trading.closed_until(COIN) is None
    assert server.sent_to(CLOCK) == []
    assert [await trading.closed_until(STOCK) for _ in range(3)] == [OPENS_AT] * 3
    assert len(server.sent_to(CLOCK)) == 1


async def test_an_open_market_is_asked_again_when_it_may_have_closed(
    server: RecordingServer, trading: HasTradingHours
) -> None:
    """It closes in a tenth of a second, by Alpaca's clock."""
    server.answers[CLOCK] = clock_reply(is_open=True, changes_in=timedelta(seconds=0.1))
    assert await trading.closed_until(STOCK) is None
    await asyncio.sleep(0.15)
    server.answers[CLOCK] = clock_reply(is_open=False)
    assert await trading.closed_until(STOCK) == OPENS_AT


@pytest.mark.parametrize(
    "reply", [clock_reply(is_open=True, next_close=None), {"is_open": "yes"}, error_reply(500, None, "trouble")]
)
async def test_a_clock_that_cannot_be_read_is_an_unknown_answer(
    server: RecordingServer, trading: HasTradingHours, reply: Any
) -> None:
    """It is neither open nor closed."""
    server.answers[CLOCK] = reply
    with pytest.raises(OutcomeUnknown):
        await trading.closed_until(STOCK)


async def test_the_last_reading_counts_until_the_market_changes_if_the_clock_cannot_be_read(
    server: RecordingServer, trading: HasTradingHours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale of shares is not sent into the night. After the opening, it is unknown whether the market is open."""
    monkeypatch.setattr(hours, "KNOWN_FOR", timedelta(0))
    server.answers[CLOCK] = clock_reply(is_open=False, changes_in=timedelta(seconds=0.5))
    assert await trading.closed_until(STOCK) == OPENS_AT
    server.answers[CLOCK] = error_reply(500, None, "trouble")
    assert await trading.closed_until(STOCK) == OPENS_AT
    assert len(server.sent_to(CLOCK)) == 2
    await asyncio.sleep(0.6)
    with pytest.raises(OutcomeUnknown):
        await trading.closed_until(STOCK)


def _limit_order(limit_price: Decimal) -> LimitOrder:
    return LimitOrder(
        **market_order("0.01").model_dump(),
        limit_price=limit_price,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
    )


async def test_a_limit_price_waits_for_the_list_of_assets_and_is_computed_by_its_ticks(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """A worker starts without the list. The first account's key reads it while the first order is on its way."""
    listed = server.answers.pop("GET /v2/assets")
    server.answers[PLACE] = order_reply(status="accepted")
    connection: BrokerConnection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    meant = Decimal("50250.123456")
    early = connection.instruments()[COIN].limit_price(meant, market_order().side)
    server.answers["GET /v2/assets"] = listed
    account = connection.account(CREDENTIALS)
    with pytest.raises(Throttled, match=r"not on the tick of 0\.01"):
        await account.place(_limit_order(early))
    assert server.sent_to(PLACE) == []
    await account.place(_limit_order(connection.instruments()[COIN].limit_price(meant, market_order().side)))
    assert len(server.sent_to(PLACE)) == 1
    await connection.close()
