"""Each fault of the paper Kraken reaches ccxt as a real failure would, and the log records what was executed."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import ccxt.async_support as ccxt
import pytest

DEADLINE_SECONDS = 20


async def _buy(client: Any, **params: str) -> Any:
    await client.load_markets()
    return await client.create_order("BTC/USD", "market", "buy", "0.01", None, params)


@pytest.mark.parametrize(
    ("kind", "fields", "error", "orders"),
    [
        ("reply_lost", {}, ccxt.NetworkError, 1),
        ("reset", {}, ccxt.NetworkError, 0),
        ("http_error", {"status": 503}, ccxt.ExchangeNotAvailable, 0),
        ("http_error", {"status": 520, "executed": True}, ccxt.ExchangeNotAvailable, 1),
        ("rate_limit", {}, ccxt.DDoSProtection, 0),
        ("invalid_nonce", {}, ccxt.InvalidNonce, 0),
        ("maintenance", {}, ccxt.ExchangeNotAvailable, 0),
        ("html", {"status": 502}, ccxt.ExchangeNotAvailable, 0),
        ("truncated", {"connection_cut": True}, ccxt.ExchangeError, 1),
        ("truncated", {"connection_cut": True, "executed": False}, ccxt.ExchangeError, 0),
        ("hang", {"seconds": 30}, ccxt.RequestTimeout, 0),
        ("hang", {"seconds": 30, "executed": True}, ccxt.RequestTimeout, 1),
    ],
)
async def test_a_fault_breaks_one_request_and_the_log_tells_what_was_executed(
    trader: tuple[str, Any], paper: Any, kind: str, fields: dict[str, Any], error: type[Exception], orders: int
) -> None:
    """ccxt raises the error class of the real failure, and the next request succeeds."""
    name, client = trader
    await client.load_markets()
    client.timeout = 500
    paper.fault(kind, endpoint="AddOrder", account=name, count=1, **fields)
    with pytest.raises(error):
        await _buy(client)
    assert len(paper.orders(name)) == orders
    assert [fault["applied"] for fault in paper.call("GET", "/paper/faults")["faults"]] == [1]
    client.timeout = 5_000
    await _buy(client)
    assert len(paper.orders(name)) == orders + 1


@pytest.mark.parametrize(
    ("kind", "fields", "orders"),
    [("html", {}, 0), ("html", {"executed": True}, 1), ("truncated", {}, 1), ("truncated", {"executed": False}, 0)],
)
async def test_a_reply_that_is_no_json_is_an_order_without_an_id_to_ccxt(
    trader: tuple[str, Any], paper: Any, kind: str, fields: dict[str, Any], orders: int
) -> None:
    """With status 200 ccxt raises no error, so its callers must check the order id."""
    name, client = trader
    await client.load_markets()
    paper.fault(kind, endpoint="AddOrder", account=name, count=1, **fields)
    assert (await _buy(client))["id"] is None
    assert len(paper.orders(name)) == orders


async def test_a_fault_spares_other_accounts_and_endpoints(paper: Any, connect: Any, trader: Any) -> None:
    """The fault affects only AddOrder of the named account."""
    name, client = trader
    _, keys = paper.account({"USD": "1000"})
    paper.fault("reset", endpoint="AddOrder", account=name)
    await client.fetch_balance()
    await _buy(connect(paper, keys[0]))
    with pytest.raises(ccxt.NetworkError):
        await _buy(client)


async def test_latency_delays_and_may_outlast_the_deadline(trader: tuple[str, Any], paper: Any) -> None:
    """A request that reaches the matching engine after its own deadline is refused."""
    name, client = trader
    await client.load_markets()
    paper.fault("latency", seconds=0.4, jitter=0.1, endpoint="AddOrder", account=name)
    started = time.monotonic()
    await _buy(client)
    assert time.monotonic() - started >= 0.4
    with pytest.raises(ccxt.ExchangeError, match="Deadline elapsed"):
        await _buy(client, deadline=(datetime.now(UTC) + timedelta(seconds=0.2)).isoformat())
    assert len(paper.orders(name)) == 1


async def test_a_hanging_request_is_dropped_when_the_fault_is_cleared(trader: tuple[str, Any], paper: Any) -> None:
    """The request gets no answer and ends with an error as soon as the fault is cleared."""
    _, client = trader
    await client.load_markets()
    fault_id = paper.fault("hang", endpoint="AddOrder")
    hanging = asyncio.create_task(_buy(client))
    await paper.wait_for(lambda: paper.call("GET", "/paper/faults")["faults"][0]["applied"] == 1)
    assert not hanging.done()
    paper.call("DELETE", f"/paper/faults/{fault_id}")
    with pytest.raises(ccxt.NetworkError):
        await hanging


async def test_the_rate_limit_has_two_texts(trader: tuple[str, Any], paper: Any) -> None:
    """The error text for orders differs from that for readings."""
    _, client = trader
    await client.load_markets()
    paper.fault("rate_limit")
    with pytest.raises(ccxt.DDoSProtection, match="EOrder:Rate limit exceeded"):
        await _buy(client)
    with pytest.raises(ccxt.DDoSProtection, match="EAPI:Rate limit exceeded"):
        await client.fetch_balance()


async def test_maintenance_is_shown_by_the_status(paper: Any, connect: Any) -> None:
    """SystemStatus still answers while all other calls are unavailable."""
    client = connect(paper)
    paper.fault("maintenance")
    assert (await client.fetch_status())["status"] == "maintenance"
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await client.fetch_ticker("BTC/USD")


async def test_a_partial_fill_is_open_and_then_closed(trader: tuple[str, Any], paper: Any) -> None:
    """Half of the order is filled immediately and the rest later, in two trades."""
    name, client = trader
    await client.load_markets()
    paper.fault("partial_fill", fraction="0.5", seconds=0.3, count=1)
    placed = await _buy(client)
    first = await client.fetch_order(placed["id"])
    assert (first["status"], first["filled"], first["remaining"]) == ("open", 0.005, 0.005)
    await paper.wait_for(lambda: paper.orders(name)[0]["status"] == "filled")
    assert len(await client.fetch_my_trades()) == 2


async def test_a_partial_fill_can_end_canceled(trader: tuple[str, Any], paper: Any) -> None:
    """The executed part stays, and the order has the reason of its cancellation."""
    _, client = trader
    await client.load_markets()
    paper.fault("partial_fill", fraction="0.2", canceled=True, count=1)
    order = await client.fetch_order((await _buy(client))["id"])
    assert (order["status"], order["filled"], order["info"]["reason"]) == ("canceled", 0.002, "Insufficient liquidity")


async def test_a_late_fill_stays_open_first(trader: tuple[str, Any], paper: Any) -> None:
    """The market order is accepted and stays open without a fill for a while."""
    name, client = trader
    await client.load_markets()
    paper.fault("late_fill", seconds=0.3, count=1)
    placed = await _buy(client)
    assert (await client.fetch_order(placed["id"]))["filled"] == 0
    await paper.wait_for(lambda: paper.orders(name)[0]["status"] == "filled")


async def test_a_late_visible_order_is_in_no_look_up_at_first(trader: tuple[str, Any], paper: Any) -> None:
    """The order is executed and logged, but no call returns it until its time comes."""
    name, client = trader
    await client.load_markets()
    paper.fault("late_visibility", seconds=0.6, count=1)
    params = {"clientOrderId": uuid4().hex}
    placed = await _buy(client, **params)
    assert len(paper.orders(name)) == 1
    assert await client.fetch_open_orders(None, None, None, params) == []
    assert await client.fetch_closed_orders(None, None, None, params) == []
    assert await client.fetch_my_trades() == []
    with pytest.raises(ccxt.OrderNotFound):
        await client.fetch_order(placed["id"])
    until = time.monotonic() + DEADLINE_SECONDS
    while not await client.fetch_closed_orders(None, None, None, params):
        assert time.monotonic() < until
        await asyncio.sleep(0.3)
    assert len(await client.fetch_my_trades()) == 1
