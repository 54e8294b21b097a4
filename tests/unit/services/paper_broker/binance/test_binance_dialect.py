"""Tests the Binance interface of the paper broker, with a clock and prices that the test moves."""

from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from services.paper_broker.binance.dialect import BinanceDialect
from services.paper_broker.binance.signature import sign
from services.paper_broker.binance.wire_names import INSTRUMENTS
from services.paper_broker.dialect import Request
from shared.exchange.orders import AT_ONCE, ExecutionTerms
from shared.exchange.simulated import simulated_exchange

START = 1_700_000_000_000_000
KEY, SECRET = "k" * 64, "s" * 64


class Bench:
    """A paper Binance with one account. `now` is its clock, in microseconds since 1970."""

    def __init__(self, *, enforces_rate_limits: bool = False, permissions: frozenset[str] | None = None) -> None:
        self.now = START
        self.dialect = BinanceDialect(enforces_rate_limits=enforces_rate_limits)
        self.exchange = simulated_exchange(
            clock=lambda: self.now,
            instruments=INSTRUMENTS,
            seed=7,
            candle_microseconds=1_000_000,
            fee_rates=self.dialect.fee_rates,
            identifiers=self.dialect.identifiers(7),
        )
        self.state = self.exchange.state
        self.exchange.pin_price("BTC/USDT", Decimal(50_000))
        balances = {"USDT": Decimal(10_000), "BTC": Decimal("0.5")}
        allowed = self.dialect.default_permissions if permissions is None else permissions
        self.state.add_account("one", balances, [(KEY, SECRET)], allowed)

    def ask(self, method: str, path: str, execution: ExecutionTerms = AT_ONCE, **changes: Any) -> tuple[int, Any]:
        """Send a signed request. `at` is its timestamp in microseconds, and `sign_with` the secret that signs it."""
        at = changes.pop("at", self.now)
        secret = changes.pop("sign_with", SECRET)
        key = changes.pop("key", KEY)
        payload = urlencode({**changes, "timestamp": at // 1_000})
        payload += f"&signature={sign(secret.encode(), payload)}"
        is_post = method == "POST"
        headers = {"X-MBX-APIKEY": key} if key else {}
        request = Request(method, path, "" if is_post else payload, headers, payload.encode() if is_post else b"")
        reply = self.dialect.answer(request, self.exchange, execution)
        return reply.status, orjson.loads(reply.body)

    def order(self, execution: ExecutionTerms = AT_ONCE, **changes: Any) -> tuple[int, Any]:
        fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", **changes}
        fields = {name: value for name, value in fields.items() if value is not None}
        return self.ask("POST", "/api/v3/order", execution, **fields)

    def public(self, path: str, query: str = "") -> tuple[int, Any]:
        reply = self.dialect.answer(Request("GET", path, query, {}, b""), self.exchange, AT_ONCE)
        return reply.status, orjson.loads(reply.body)


@pytest.fixture
def bench() -> Bench:
    return Bench()


LATE = ExecutionTerms(fraction=Decimal(0), rest_after_microseconds=60_000_000)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"key": ""}, 401, -2014),
        ({"key": "short"}, 401, -2014),
        ({"key": "x" * 64}, 401, -2015),
        ({"sign_with": "wrong"}, 400, -1022),
        ({"at": START - 5_001_000}, 400, -1021),
        ({"at": START - 2_001_000, "recvWindow": "2000"}, 400, -1021),
        ({"at": START + 1_000_000}, 400, -1021),
        ({"recvWindow": "60001"}, 400, -1131),
        ({"recvWindow": "soon"}, 400, -1100),
    ],
)
def test_who_asks_wrongly_gets_binances_code(bench: Bench, change: dict[str, Any], status: int, code: int) -> None:
    """A wrong key, signature, timestamp and window each have their own code."""
    got, reply = bench.ask("GET", "/api/v3/account", **change)
    assert (got, reply["code"]) == (status, code)


@pytest.mark.parametrize("change", [{"at": START - 5_000_000}, {"at": START + 999_000}, {"recvWindow": "60000"}])
def test_a_timestamp_inside_the_window_is_taken(bench: Bench, change: dict[str, Any]) -> None:
    """A timestamp may be as old as recvWindow (5 s by default) and up to a second ahead."""
    assert bench.ask("GET", "/api/v3/account", **change)[0] == 200


def test_a_key_without_the_permission_is_refused() -> None:
    """An order gets the answer for an unknown key. Reading is still allowed."""
    bench = Bench(permissions=frozenset({"enableReading"}))
    assert bench.order()[1]["code"] == -2015
    assert bench.ask("GET", "/api/v3/account")[0] == 200
    assert bench.ask("GET", "/sapi/v1/account/apiRestrictions")[1]["enableSpotAndMarginTrading"] is False


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"symbol": "BTCUSD"}, -1121, "Invalid symbol."),
        ({"symbol": None}, -1102, "'symbol'"),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "STOP"}, -1116, "Invalid orderType."),
        ({"quantity": None}, -1102, "'quantity' or 'quoteOrderQty'"),
        ({"quantity": "much"}, -1100, "'quantity'"),
        ({"quantity": "1E-2"}, -1100, "'quantity'"),
        ({"quantity": "0.000000001"}, -1111, "too much precision"),
        ({"quantity": "0"}, -1013, "Invalid quantity"),
        ({"quantity": "0.0000123"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.00009"}, -1013, "Filter failure: NOTIONAL"),
        ({"quoteOrderQty": "50"}, -1106, "'quoteOrderQty'"),
        ({"price": "50000"}, -1106, "'price'"),
        ({"timeInForce": "GTC"}, -1106, "'timeInForce'"),
        ({"type": "LIMIT", "price": "50000"}, -1102, "'timeInForce'"),
        ({"type": "LIMIT", "price": "50000.001", "timeInForce": "GTC"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"type": "LIMIT", "price": "50000", "timeInForce": "FOK"}, -1115, "Invalid timeInForce."),
        ({"type": "LIMIT_MAKER", "price": "60000"}, -2010, "Order would immediately match and take."),
        ({"newClientOrderId": "x" * 37}, -1100, "'newClientOrderId'"),
        ({"newClientOrderId": "ä"}, -1100, "'newClientOrderId'"),
        ({"quantity": "1"}, -2010, "Account has insufficient balance for requested action."),
    ],
)
def test_a_wrong_order_gets_binances_code_and_words(bench: Bench, change: dict[str, Any], code: int, text: str) -> None:
    """No order is placed."""
    status, reply = bench.order(**change)
    assert (status, reply["code"]) == (400, code)
    assert text in reply["msg"]
    assert bench.state.orders == []


def test_a_market_order_tells_its_fills_and_takes_the_fee_from_what_is_received(bench: Bench) -> None:
    """The fee is 0.1% of the coin for a purchase and of the dollars for a sale. Balances agree to the last digit."""
    _, bought = bench.order(newClientOrderId="mine")
    (fill,) = bought["fills"]
    assert (bought["status"], bought["clientOrderId"], bought["executedQty"]) == ("FILLED", "mine", "0.01000000")
    assert (fill["commission"], fill["commissionAsset"]) == ("0.00001000", "BTC")
    _, sold = bench.order(side="SELL")
    assert sold["fills"][0]["commissionAsset"] == "USDT"
    fee = Decimal(sold["fills"][0]["commission"])
    assert fee == Decimal(sold["cummulativeQuoteQty"]) / 1_000
    balances = {entry["asset"]: Decimal(entry["free"]) for entry in bench.ask("GET", "/api/v3/account")[1]["balances"]}
    assert balances["BTC"] == Decimal("0.49999")
    spent = Decimal(bought["cummulativeQuoteQty"]) - Decimal(sold["cummulativeQuoteQty"]) + fee
    assert balances["USDT"] == 10_000 - spent


def test_a_fee_in_the_coin_is_finer_than_the_lot(bench: Bench) -> None:
    """The lot is 0.00001 and the fee has eight places."""
    _, reply = bench.order(quantity="0.00011")
    assert reply["fills"][0]["commission"] == "0.00000011"


def test_an_order_by_quote_currency_spends_at_most_that(bench: Bench) -> None:
    """The order is sized by quoteOrderQty. A query shows this amount, as at Binance."""
    _, reply = bench.order(quantity=None, quoteOrderQty="100")
    assert Decimal(99) < Decimal(reply["cummulativeQuoteQty"]) <= Decimal(100)
    _, queried = bench.ask("GET", "/api/v3/order", symbol="BTCUSDT", orderId=reply["orderId"])
    assert queried["origQuoteOrderQty"] == "100.00000000"
    assert "fills" not in queried


def test_a_sale_by_quote_currency_brings_at_most_that(bench: Bench) -> None:
    """Only the coins that this amount requires are sold, and the fee is taken from the proceeds."""
    _, reply = bench.order(side="SELL", quantity=None, quoteOrderQty="100")
    proceeds, sold = Decimal(reply["cummulativeQuoteQty"]), Decimal(reply["executedQty"])
    assert reply["status"] == "FILLED"
    assert Decimal(99) < proceeds <= Decimal(100)
    balances = {entry["asset"]: Decimal(entry["free"]) for entry in bench.ask("GET", "/api/v3/account")[1]["balances"]}
    assert balances["BTC"] == Decimal("0.5") - sold
    assert balances["USDT"] == 10_000 + proceeds - proceeds / 1_000
    assert bench.order(side="SELL", quantity=None, quoteOrderQty="60000")[1]["code"] == -2010


def test_a_client_order_id_is_unique_among_open_orders_only(bench: Bench) -> None:
    """The id of an open order is refused, the id of an ended order is accepted. A query returns the newest order."""
    limit = {"type": "LIMIT", "price": "40000", "timeInForce": "GTC", "newClientOrderId": "a"}
    first = bench.order(**limit)[1]
    assert bench.order(**limit)[1] == {"code": -2010, "msg": "Duplicate order sent."}
    status, canceled = bench.ask("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a")
    assert (status, canceled["status"], canceled["origClientOrderId"]) == (200, "CANCELED", "a")
    assert canceled["clientOrderId"] != "a"
    second = bench.order(**limit)[1]
    assert second["orderId"] > first["orderId"]
    _, queried = bench.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a")
    assert (queried["orderId"], queried["clientOrderId"]) == (second["orderId"], "a")


def test_an_open_order_holds_what_it_needs_and_can_be_canceled_once(bench: Bench) -> None:
    """The quantity is locked while the order is open. A second cancellation is answered with "unknown order"."""
    order = bench.order(type="LIMIT", side="SELL", price="60000", timeInForce="GTC", quantity="0.1")[1]
    assert [each["orderId"] for each in bench.ask("GET", "/api/v3/openOrders")[1]] == [order["orderId"]]
    (bitcoin,) = [e for e in bench.ask("GET", "/api/v3/account")[1]["balances"] if e["asset"] == "BTC"]
    assert (bitcoin["free"], bitcoin["locked"]) == ("0.40000000", "0.10000000")
    named = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
    assert bench.ask("DELETE", "/api/v3/order", **named)[0] == 200
    assert bench.ask("DELETE", "/api/v3/order", **named)[1] == {"code": -2011, "msg": "Unknown order sent."}
    assert bench.ask("GET", "/api/v3/openOrders", symbol="BTCUSDT")[1] == []


def test_an_order_is_found_under_its_own_symbol_and_account_only(bench: Bench) -> None:
    """Under another symbol or account the order does not exist."""
    order = bench.order()[1]
    _, reply = bench.ask("GET", "/api/v3/order", symbol="ETHUSDT", orderId=order["orderId"])
    assert reply == {"code": -2013, "msg": "Order does not exist."}
    bench.state.add_account("two", {}, [("o" * 64, SECRET)], bench.dialect.default_permissions)
    _, reply = bench.ask("GET", "/api/v3/order", key="o" * 64, symbol="BTCUSDT", orderId=order["orderId"])
    assert reply["code"] == -2013


def test_trades_are_told_per_symbol_oldest_first_and_by_id(bench: Bench) -> None:
    """`fromId` is inclusive, and `limit` counts from there. Without a start, the newest trades are returned."""
    orders = []
    for _ in range(5):
        orders.append(bench.order()[1]["orderId"])
        bench.order(symbol="ETHUSDT", quantity="0.1")
        bench.now += 1_000_000
    path = "/api/v3/myTrades"
    trades = bench.ask("GET", path, symbol="BTCUSDT")[1]
    assert [trade["orderId"] for trade in trades] == orders
    ids = [trade["id"] for trade in trades]
    assert ids == sorted(ids)

    def reported(**parameters: Any) -> list[int]:
        return [trade["id"] for trade in bench.ask("GET", path, symbol="BTCUSDT", **parameters)[1]]

    assert reported(fromId=ids[2], limit=2) == ids[2:4]
    assert reported(fromId=ids[4] + 1) == []
    assert reported(limit=2) == ids[3:]
    assert reported(startTime=trades[1]["time"], limit=2) == ids[1:3]
    assert reported(orderId=orders[3]) == ids[3:4]
    assert bench.ask("GET", path, symbol="BTCUSDT", fromId=1, startTime=1)[1]["code"] == -1128
    assert bench.ask("GET", path, symbol="BTCUSDT", startTime=1, endTime=86_400_002)[1]["code"] == -1127
    assert bench.ask("GET", path)[1]["code"] == -1102


def test_what_is_not_filled_of_a_market_order_expires(bench: Bench) -> None:
    """The order is not shown as canceled, because no client canceled it."""
    rest_canceled = ExecutionTerms(fraction=Decimal("0.5"), rest_is_canceled=True)
    _, reply = bench.order(rest_canceled, quantity="0.02")
    assert (reply["status"], reply["executedQty"], reply["origQty"]) == ("EXPIRED", "0.01000000", "0.02000000")


def test_an_order_can_be_late_to_fill(bench: Bench) -> None:
    """The order is NEW at first, without fills. It becomes FILLED at its time."""
    _, reply = bench.order(LATE)
    assert (reply["status"], reply["fills"]) == ("NEW", [])
    bench.now += 61_000_000
    _, queried = bench.ask("GET", "/api/v3/order", symbol="BTCUSDT", orderId=reply["orderId"])
    assert queried["status"] == "FILLED"


def test_the_weight_of_requests_is_limited_per_address() -> None:
    """The limit is 6,000 in each minute of the clock: 300 account readings succeed, and the next request gets 429."""
    bench = Bench(enforces_rate_limits=True)
    bench.now -= bench.now % 60_000_000
    statuses = [bench.ask("GET", "/api/v3/account")[0] for _ in range(301)]
    assert statuses == [200] * 300 + [429]
    bench.now += 59_000_000
    assert bench.ask("GET", "/api/v3/account")[0] == 429
    bench.now += 1_000_000
    assert bench.ask("GET", "/api/v3/account")[0] == 200


def test_orders_weigh_nothing_unless_they_are_refused() -> None:
    """This holds since April 2026. The used weight is in a header of each reply."""
    bench = Bench(enforces_rate_limits=True)
    used = bench.dialect._rate_limits
    assert used is not None
    assert bench.order()[0] == 200
    assert used.used_weight("127.0.0.1") == 0
    assert bench.order(quantity="900")[0] == 400
    assert used.used_weight("127.0.0.1") == 1


def test_an_address_that_does_not_slow_down_is_banned_for_longer_each_time() -> None:
    """The first ban lasts two minutes, the second four. Another address goes on meanwhile."""
    bench = Bench(enforces_rate_limits=True)
    bench.now -= bench.now % 60_000_000
    for seconds in (120, 240):
        replies = [bench.ask("GET", "/api/v3/account") for _ in range(312)]
        assert [status for status, _ in replies] == [200] * 300 + [429] * 10 + [418] * 2
        until = (bench.now + seconds * 1_000_000) // 1_000
        assert replies[-1][1]["code"] == -1003
        assert f"IP banned until {until}." in replies[-1][1]["msg"]
        request = Request("GET", "/api/v3/ping", "", {}, b"", "10.0.0.9")
        assert bench.dialect.answer(request, bench.exchange, AT_ONCE).status == 200
        bench.now += seconds * 1_000_000
    assert bench.ask("GET", "/api/v3/account")[0] == 200


def test_a_refused_request_names_the_seconds_to_wait() -> None:
    """Retry-After is the rest of the minute, or of the ban."""
    bench = Bench(enforces_rate_limits=True)
    bench.now += 13_000_000 - bench.now % 60_000_000
    request = Request("GET", "/api/v3/ticker/24hr", "", {}, b"")
    replies = [bench.dialect.answer(request, bench.exchange, AT_ONCE) for _ in range(87)]
    assert [reply.headers.get("Retry-After") for reply in replies] == [None] * 75 + ["47"] * 10 + ["120"] * 2


def test_new_orders_are_limited_per_account() -> None:
    """The limit is 100 orders in ten seconds."""
    bench = Bench(enforces_rate_limits=True)
    codes = [bench.order(quantity="0.0002")[1].get("code") for _ in range(101)]
    assert codes == [None] * 100 + [-1015]


def test_public_calls_tell_markets_prices_and_candles(bench: Bench) -> None:
    """A request may name one symbol, several or none (all). An unknown or repeated symbol is an error."""
    path = "/api/v3/ticker/24hr"
    assert bench.public(path, "symbol=BTCUSDT")[1]["lastPrice"] == "50000.00000000"
    assert [each["symbol"] for each in bench.public(path, "symbols=%5B%22ETHUSDT%22,%22BTCUSDT%22%5D")[1]] == [
        "ETHUSDT",
        "BTCUSDT",
    ]
    assert len(bench.public(path)[1]) == len(INSTRUMENTS)
    assert bench.public(path, "symbol=NONE")[1]["code"] == -1121
    assert bench.public(path, "symbols=%5B%22ETHUSDT%22,%22ETHUSDT%22%5D")[1]["code"] == -1151
    assert len(bench.public("/api/v3/depth", "symbol=BTCUSDT&limit=5")[1]["asks"]) == 5
    candles = bench.public("/api/v3/klines", "symbol=BTCUSDT&interval=5m&limit=3")[1]
    assert [later[0] - earlier[0] for earlier, later in pairwise(candles)] == [300_000] * 2
    start = candles[0][0] - 3_600_000
    assert bench.public("/api/v3/klines", f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=2")[1][0][0] == start
    assert bench.public("/api/v3/klines", "symbol=BTCUSDT&interval=7m")[1]["code"] == -1120
    assert bench.public("/api/v3/time")[1] == {"serverTime": START // 1_000}


def test_what_binance_does_not_serve_is_not_found(bench: Bench) -> None:
    """The reply is 404 and not JSON."""
    reply = bench.dialect.answer(Request("GET", "/api/v3/nothing", "", {}, b""), bench.exchange, AT_ONCE)
    assert (reply.status, reply.content_type) == (404, "text/html")
