"""Every failure of a request has its own error class, and no order is sent twice by itself."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.brokers.errors import (
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.registry import connect
from shared.domain.fill import Side
from tests.contract.brokers import Terms
from tests.contract.conftest import PRICE, Trader
from tests.contract.paper import PaperServer


async def test_too_little_money_is_told_from_other_rejections(trader: Trader) -> None:
    """An order for more than the account holds raises `InsufficientFunds`, for a buy and for a sale."""
    for side in Side:
        with pytest.raises(InsufficientFunds):
            await trader.account.place(trader.order("0.9", side))
    assert trader.logged() == []


async def test_less_than_a_minimum_is_rejected(trader: Trader) -> None:
    """The gateway rejects a quantity below the minimum of the broker, although the planner should never send one."""
    instrument = trader.connection.instruments()[trader.symbol]
    # A quantity of one lot can be large enough, but its cost is then below the smallest cost.
    for quantity in {instrument.rounded(instrument.minimum_quantity / 2), instrument.lot} - {Decimal(0)}:
        assert not instrument.is_orderable(quantity, PRICE)
        with pytest.raises(Rejected):
            await trader.account.place(trader.order(str(quantity)))
    assert trader.logged() == []


async def test_a_symbol_that_is_not_listed_is_rejected(trader: Trader) -> None:
    """The gateway rejects the order before it sends anything."""
    with pytest.raises(Rejected):
        await trader.account.place(trader.order(symbol="NOT/LISTED"))


async def test_a_key_that_is_unknown_or_signs_wrongly_is_refused(trader: Trader) -> None:
    """Both errors are `KeyRefused`, which disables the follower. The secret is not in the text of the error."""
    unknown = trader.credentials.model_copy(update={"api_key": SecretStr("unknown")})
    wrong = trader.credentials.model_copy(update={"api_secret": SecretStr("d3Jvbmcgc2VjcmV0")})
    for credentials in (unknown, wrong):
        with pytest.raises(KeyRefused) as raised:
            await trader.connection.account(credentials).place(trader.order())
        assert credentials.api_secret.get_secret_value() not in str(raised.value)
    assert trader.logged() == []


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("rate_limit", {}, RateLimited),
        ("invalid_nonce", {}, InvalidNonce),
        ("maintenance", {}, OutcomeUnknown),
        ("html", {}, OutcomeUnknown),
        ("html", {"status": 503}, OutcomeUnknown),
        ("truncated", {"executed": False}, OutcomeUnknown),
        ("http_error", {"status": 302}, OutcomeUnknown),
        ("http_error", {"status": 500}, OutcomeUnknown),
        ("http_error", {"status": 502}, OutcomeUnknown),
        ("reset", {}, OutcomeUnknown),
    ],
)
async def test_a_failed_order_is_not_sent_again_and_the_account_goes_on(
    trader: Trader, terms: Terms, kind: str, parameters: dict[str, Any], expected: type[Exception]
) -> None:
    """The error has the right class, the broker has no order, and the next order succeeds."""
    if expected is InvalidNonce and not terms.checks_nonce_or_clock:
        expected = OutcomeUnknown
    trader.fault(kind, endpoint=terms.place_endpoint, **parameters)
    order = trader.order()
    since = datetime.now(UTC)
    with pytest.raises(expected) as raised:
        await trader.account.place(order)
    assert type(raised.value) is expected
    if isinstance(raised.value, RateLimited):
        # Each paper broker answers with the text that its broker documents as a refusal.
        assert raised.value.certainly_refused
    assert trader.logged() == []
    assert await trader.account.look_up(order.client_order_id, trader.symbol, since) is None
    await trader.until_final(await trader.account.place(order))
    assert len(trader.logged()) == 1


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("reply_lost", {}),
        ("truncated", {"executed": True}),
        ("html", {"executed": True}),
        ("http_error", {"status": 504, "executed": True}),
        ("http_error", {"status": 302, "executed": True}),
    ],
)
async def test_an_order_whose_reply_was_lost_is_found(
    trader: Trader, terms: Terms, kind: str, parameters: dict[str, Any]
) -> None:
    """The order is executed but its reply is unreadable.

    Its outcome is unknown, a look-up finds it, and it exists once.
    """
    trader.fault(kind, endpoint=terms.place_endpoint, **parameters)
    order = trader.order("0.02")
    since = datetime.now(UTC)
    with pytest.raises(OutcomeUnknown):
        await trader.account.place(order)
    report = await trader.account.look_up(order.client_order_id, trader.symbol, since)
    assert report is not None
    assert report.filled_quantity == Decimal("0.02")
    assert len(trader.logged()) == 1


async def test_a_broker_that_never_answers_is_given_up_in_time(
    trader: Trader, terms: Terms, paper: PaperServer, nonces: NonceSource
) -> None:
    """A request ends after its timeout, and the outcome of the order is unknown."""
    connection = connect(terms.broker, base_url=paper.url, nonces=nonces, request_timeout_seconds=0.5)
    await connection.open()
    account = connection.account(trader.credentials)
    trader.fault("hang", endpoint=terms.place_endpoint)
    async with asyncio.timeout(5):
        with pytest.raises(OutcomeUnknown):
            await account.place(trader.order())
    assert trader.logged() == []
    await connection.close()


@pytest.mark.parametrize("kind", ["html", "truncated", "maintenance", "reset"])
async def test_a_failed_reading_asks_to_try_again(trader: Trader, terms: Terms, kind: str) -> None:
    """A failed reading raises an error.

    It never looks like an empty account or a missing order, and the next try succeeds.
    """
    order_id = await trader.account.place(trader.order())
    # A second client reads, because the one that placed the order may know its end from the reply of the broker.
    reader = trader.connection.account(trader.credentials)
    readings = {
        terms.balances_endpoint: reader.balances,
        terms.fills_endpoint: lambda: reader.fills_since(datetime(2020, 1, 1, tzinfo=UTC)),
        terms.order_endpoint: lambda: reader.order(order_id, trader.symbol),
    }
    for endpoint, read in readings.items():
        # The fault stays until the call has failed: aiohttp itself repeats a GET once when its connection is cut.
        trader.fault(kind, endpoint=endpoint, count=None)
        with pytest.raises(OutcomeUnknown):
            await read()
        trader.paper.ask("DELETE", "faults")
        assert await read()


async def test_one_accounts_trouble_is_not_anothers(
    trader: Trader, terms: Terms, paper: PaperServer, connection: BrokerConnection
) -> None:
    """While the order of one account hangs, the order of another account succeeds on the same connection."""
    other_key = paper.new_account(f"beside-{trader.name}", {terms.quote: "1000"})
    trader.fault("hang", endpoint=terms.place_endpoint)
    hanging = asyncio.create_task(trader.account.place(trader.order()))
    other = connection.account(other_key)
    assert await other.place(trader.order("0.001"))
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_two_clients_of_one_key_can_take_turns(trader: Trader) -> None:
    """Two processes may use the same key. No request of either is refused."""
    second = trader.connection.account(trader.credentials)
    for account in (trader.account, second) * 3:
        assert await account.balances()


async def test_a_broker_that_is_gone_was_not_reached(
    terms: Terms, tmp_path: Path, nonces: NonceSource, trader: Trader
) -> None:
    """Once the dead connections are dropped, an order to a stopped broker raises `NotSent`."""
    server = PaperServer(terms.broker, tmp_path)
    credentials = server.new_account("gone", {terms.quote: "1000"})
    connection = connect(terms.broker, base_url=server.url, nonces=nonces, request_timeout_seconds=5)
    await connection.open()
    account = connection.account(credentials)
    server.stop()
    # An old connection may still be in the pool. It fails at its first use.
    with pytest.raises((OutcomeUnknown, NotSent)):
        await account.balances()
    with pytest.raises(NotSent):
        await account.place(trader.order("0.001"))
    await connection.close()
