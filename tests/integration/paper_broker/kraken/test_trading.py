"""Tests accounts, orders and trades of the paper Kraken through unmodified ccxt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import ccxt.async_support as ccxt
import pytest


async def test_balances_show_holds_and_staked_coins(paper: Any, connect: Any) -> None:
    """An open order's money is used, not free; `.F` coins have an entry of their own."""
    _, keys = paper.account({"USD": "1000", "BTC.F": "0.7"})
    client = connect(paper, keys[0])
    await client.create_order("BTC/USD", "limit", "buy", "0.01", "40000")
    balance = await client.fetch_balance()
    raw = balance["info"]["result"]
    assert (balance["USD"]["total"], balance["USD"]["used"]) == (1000, 401.04)
    assert raw["XBT.F"]["balance"] == "0.7"
    assert Decimal(raw["ZUSD"]["hold_trade"]) == Decimal("401.04")


async def test_a_market_order_is_filled_and_found_by_its_client_order_id(trader: tuple[str, Any], paper: Any) -> None:
    """Placed with id and deadline, read by txid, found among the closed, and in the broker's own log."""
    name, client = trader
    client_order_id = uuid4().hex
    deadline = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
    params = {"clientOrderId": client_order_id, "deadline": deadline, "oflags": "fciq"}
    placed = await client.create_order("BTC/USD", "market", "buy", "0.01", None, params)
    order = await client.fetch_order(placed["id"])
    (found,) = await client.fetch_closed_orders("BTC/USD", None, None, {"clientOrderId": client_order_id})
    assert await client.fetch_open_orders("BTC/USD", None, None, {"clientOrderId": client_order_id}) == []
    assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 0.01, client_order_id)
    assert found["id"] == placed["id"]
    (logged,) = paper.orders(name)
    assert (logged["txid"], logged["client_order_id"]) == (placed["id"], client_order_id)
    assert (logged["status"], logged["quantity"], logged["filled"]) == ("filled", "0.01", "0.01")
    assert Decimal(logged["cost"]) == Decimal(order["info"]["cost"])
    assert Decimal(logged["fee"]) == Decimal(order["info"]["fee"]) == Decimal(logged["cost"]) * Decimal("0.0026")
    assert order["fee"]["currency"] == logged["fee_currency"] == "USD"


async def test_a_buy_by_cost_spends_quote_currency(trader: tuple[str, Any], paper: Any) -> None:
    """viqc through ccxt: 250 US dollars are spent, not 250 coins bought."""
    name, client = trader
    await client.create_market_buy_order_with_cost("BTC/USD", "250")
    (logged,) = paper.orders(name)
    assert logged["quote_sized"]
    assert Decimal("249.99") < Decimal(logged["cost"]) <= 250
    with pytest.raises(ccxt.InvalidOrder, match="Invalid arguments:viqc"):
        await client.create_order("BTC/USD", "market", "sell", "250", None, {"oflags": "viqc"})


async def test_a_limit_order_rests_is_found_filled_or_canceled(trader: tuple[str, Any], paper: Any) -> None:
    """Open until the price comes or the user cancels it."""
    _, client = trader
    resting = await client.create_order("BTC/USD", "limit", "buy", "0.1", "45000", {"clientOrderId": "rest"})
    other = await client.create_order("BTC/USD", "limit", "sell", "0.1", "60000")
    (found,) = await client.fetch_open_orders("BTC/USD", None, None, {"clientOrderId": "rest"})
    assert (found["id"], found["status"], found["price"]) == (resting["id"], "open", 45_000)
    assert len(await client.fetch_open_orders()) == 2
    await client.cancel_order(other["id"])
    paper.call("POST", "/paper/price", {"symbol": "BTC/USD", "price": "44000"})
    filled, canceled = await client.fetch_order(resting["id"]), await client.fetch_order(other["id"])
    assert (filled["status"], filled["average"], canceled["status"]) == ("closed", 45_000, "canceled")
    assert (await client.fetch_my_trades())[0]["takerOrMaker"] == "maker"
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order(other["id"])


async def test_trades_are_paged_newest_first(trader: tuple[str, Any]) -> None:
    """Fifty a page with `ofs`, counted in all, and `start` leaves out what was before."""
    _, client = trader
    ids = [(await client.create_order("BTC/USD", "market", "buy", "0.001"))["id"] for _ in range(60)]
    first = (await client.privatePostTradesHistory())["result"]
    second = (await client.privatePostTradesHistory({"ofs": 50}))["result"]
    orders = [trade["ordertxid"] for page in (first, second) for trade in page["trades"].values()]
    assert (len(first["trades"]), len(second["trades"]), int(first["count"])) == (50, 10, 60)
    assert orders == ids[::-1]
    middle = list(first["trades"].values())[20]["time"]
    later = (await client.privatePostTradesHistory({"start": middle}))["result"]
    assert [trade["ordertxid"] for trade in later["trades"].values()] == ids[:-21:-1]
    by_id = (await client.privatePostTradesHistory({"start": list(first["trades"])[20]}))["result"]
    assert len(by_id["trades"]) == 20
    assert len(await client.fetch_my_trades("BTC/USD", since=int(float(middle)) * 1000)) >= 20


async def test_key_permissions_are_told_and_enforced(paper: Any, connect: Any) -> None:
    """GetApiKeyInfo lists them; a key that may only read cannot trade; withdrawing is never a default."""
    _, keys = paper.account({"USD": "1000"})
    info = (await connect(paper, keys[0]).privatePostGetApiKeyInfo())["result"]
    assert "modify-trades" in info["permissions"]
    assert "withdraw-funds" not in info["permissions"]
    _, keys = paper.account({"USD": "1000"}, permissions=["query-funds", "withdraw-funds"])
    reader = connect(paper, keys[0])
    assert (await reader.privatePostGetApiKeyInfo())["result"]["permissions"] == ["query-funds", "withdraw-funds"]
    assert (await reader.fetch_balance())["USD"]["free"] == 1000
    with pytest.raises(ccxt.PermissionDenied):
        await reader.create_order("BTC/USD", "market", "buy", "0.01")


async def test_wrong_keys_signatures_and_nonces_are_refused(paper: Any, connect: Any) -> None:
    """In Kraken's words, and a nonce must be greater than the last one of its key; other keys do not matter."""
    _, keys = paper.account({"USD": "1000"}, keys=2)
    with pytest.raises(ccxt.AuthenticationError, match="Invalid key"):
        await connect(paper, {**keys[0], "api_key": "unknown"}).fetch_balance()
    with pytest.raises(ccxt.ExchangeError, match="Invalid signature"):
        await connect(paper, {**keys[0], "api_secret": keys[1]["api_secret"]}).fetch_balance()
    first, second = connect(paper, keys[0]), connect(paper, keys[1])
    await first.load_markets()
    first.incrementing_nonce = iter([100, 100, 99, 101]).__next__
    second.incrementing_nonce = iter([50]).__next__
    await first.fetch_balance()
    for _ in range(2):
        with pytest.raises(ccxt.InvalidNonce):
            await first.fetch_balance()
    await first.fetch_balance()
    await second.fetch_balance()


@pytest.mark.parametrize(
    ("side", "quantity", "params", "error", "text"),
    [
        ("buy", "50", {}, ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
        ("buy", "0.00004", {}, ccxt.InvalidOrder, "EOrder:Order minimum not met"),
        ("buy", "0.01", {"clientOrderId": "x" * 19}, ccxt.ExchangeError, "EGeneral:Invalid arguments:cl_ord_id"),
        ("buy", "0.01", {"deadline": "2020-01-01T00:00:00Z"}, ccxt.ExchangeError, "EService:Deadline elapsed"),
        ("buy", "0.01", {"deadline": "2099-01-01T00:00:00Z"}, ccxt.ExchangeError, "EGeneral:Invalid arguments"),
        ("buy", "0.01", {"pair": "NOPE"}, ccxt.ExchangeError, "EQuery:Unknown asset pair"),
        ("buy", "0.01", {"volume": "0.01234567"}, None, ""),
        ("buy", "0.01", {"volume": "0.012345678"}, ccxt.InvalidOrder, "EGeneral:Invalid arguments:volume"),
    ],
)
async def test_orders_are_refused_in_krakens_words(
    trader: tuple[str, Any],
    paper: Any,
    side: str,
    quantity: str,
    params: dict[str, str],
    error: type[Exception] | None,
    text: str,
) -> None:
    """ccxt sees the class that brokers.md lists, and nothing is in the log."""
    name, client = trader
    if error is None:
        await client.create_order("BTC/USD", "market", side, quantity, None, params)
        assert len(paper.orders(name)) == 1
        return
    with pytest.raises(error, match=text):
        await client.create_order("BTC/USD", "market", side, quantity, None, params)
    assert paper.orders(name) == []


async def test_the_cost_minimum_is_enforced(trader: tuple[str, Any]) -> None:
    """Enough coins, too little money."""
    _, client = trader
    with pytest.raises(ccxt.ExchangeError, match="EOrder:Cost minimum not met"):
        await client.create_order("BTC/USD", "limit", "buy", "0.00005", "5000")


async def test_a_client_order_id_is_unique_among_open_orders_only(trader: tuple[str, Any], paper: Any) -> None:
    """While open it is refused as a plain ExchangeError; once filled, the same request buys twice."""
    name, client = trader
    params = {"clientOrderId": uuid4().hex}
    resting = await client.create_order("BTC/USD", "limit", "buy", "0.01", "40000", params)
    with pytest.raises(ccxt.ExchangeError, match="cl_ord_id not unique") as refusal:
        await client.create_order("BTC/USD", "market", "buy", "0.01", None, params)
    assert type(refusal.value) is ccxt.ExchangeError
    await client.cancel_order(resting["id"])
    for _ in range(2):
        await client.create_order("BTC/USD", "market", "buy", "0.01", None, params)
    assert [order["status"] for order in paper.orders(name)] == ["canceled", "filled", "filled"]
