"""Tests the Alpaca interface of the paper broker, with a clock and prices that the test moves."""

import base64
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from services.paper_broker.alpaca.dialect import AlpacaDialect
from services.paper_broker.alpaca.instruments import INSTRUMENTS
from services.paper_broker.alpaca.shapes import time_text
from services.paper_broker.dialect import Request
from shared.exchange.orders import AT_ONCE, ExecutionTerms
from shared.exchange.simulated import simulated_exchange

START = 1_700_000_000_000_000
KEY, SECRET = "PKTEST", "secret"
PLACE = "/v2/orders"
RESTS = ExecutionTerms(fraction=Decimal(0), rest_after_microseconds=60_000_000)


class Bench:
    """A paper Alpaca with one account. `now` is its clock, in microseconds since 1970."""

    def __init__(self, *, enforces_rate_limits: bool = False, permissions: frozenset[str] | None = None) -> None:
        self.now = START
        self.dialect = AlpacaDialect(enforces_rate_limits=enforces_rate_limits)
        self.exchange = simulated_exchange(
            clock=lambda: self.now,
            instruments=INSTRUMENTS,
            seed=7,
            candle_microseconds=1_000_000,
            fee_rates=self.dialect.fee_rates,
            identifiers=self.dialect.identifiers(7),
            buying_power=self.dialect.buying_power,
        )
        self.state = self.exchange.state
        self.exchange.pin_price("BTC/USD", Decimal(50_000))
        self.exchange.pin_price("AAPL/USD", Decimal(170))
        balances = {"USD": Decimal(10_000), "BTC": Decimal("0.5"), "AAPL": Decimal(3)}
        allowed = self.dialect.default_permissions if permissions is None else permissions
        self.state.add_account("one", balances, [(KEY, SECRET)], allowed)

    def ask(
        self,
        method: str,
        path: str,
        execution: ExecutionTerms = AT_ONCE,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> tuple[int, Any]:
        """Send a request with the account's key, or with other `headers`."""
        own = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
        request = Request(
            method, path, urlencode(query), own if headers is None else headers, b"" if body is None else _json(body)
        )
        reply = self.dialect.answer(request, self.exchange, execution)
        return reply.status, orjson.loads(reply.body) if reply.body else None

    def order(self, execution: ExecutionTerms = AT_ONCE, **changes: Any) -> tuple[int, Any]:
        self.now += 1_000
        fields = {"symbol": "BTC/USD", "side": "buy", "type": "market", "qty": "0.01", "time_in_force": "gtc"}
        chosen = {name: value for name, value in {**fields, **changes}.items() if value is not None}
        return self.ask("POST", PLACE, execution, body=chosen)


def _json(body: Any) -> bytes:
    return body if isinstance(body, bytes) else orjson.dumps(body)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"APCA-API-KEY-ID": KEY},
        {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": "wrong"},
        {"APCA-API-KEY-ID": "unknown", "APCA-API-SECRET-KEY": SECRET},
        {"Authorization": "Basic !!!"},
    ],
)
def test_a_wrong_key_is_refused(bench: Bench, headers: dict[str, str]) -> None:
    """The reply is 401 with Alpaca's code, for readings and orders."""
    for method, path in (("GET", "/v2/account"), ("POST", PLACE), ("GET", "/v2/stocks/trades/latest")):
        status, reply = bench.ask(method, path, headers=headers, body={})
        assert (status, reply["code"]) == (401, 40110000)


def test_basic_authorization_is_taken_too(bench: Bench) -> None:
    """The data clients may send it. Prices of coins need no key."""
    encoded = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    assert bench.ask("GET", "/v2/account", headers={"Authorization": f"Basic {encoded}"})[0] == 200
    status, reply = bench.ask("GET", "/v1beta3/crypto/us/latest/trades", headers={}, symbols="BTC/USD,NO/USD")
    assert (status, set(reply["trades"])) == (200, {"BTC/USD"})
    assert reply["trades"]["BTC/USD"]["p"] == 50_000


def test_an_order_is_accepted_first_and_filled_when_it_is_read(bench: Bench) -> None:
    """The reply to a new order shows no fill. A reading by either id does. The fee is taken from the coin."""
    status, placed = bench.order(client_order_id="mine")
    assert (status, placed["status"], placed["filled_qty"]) == (200, "accepted", "0")
    for path, query in (
        (f"/v2/orders/{placed['id']}", {}),
        ("/v2/orders:by_client_order_id", {"client_order_id": "mine"}),
    ):
        _, order = bench.ask("GET", path, **query)
        assert (order["status"], order["filled_qty"], order["filled_avg_price"]) == ("filled", "0.01", "50005")
    _, positions = bench.ask("GET", "/v2/positions")
    assert {p["symbol"]: p["qty"] for p in positions} == {"BTCUSD": "0.509975", "AAPL": "3"}
    _, account = bench.ask("GET", "/v2/account")
    assert account["cash"] == "9499.95"


def test_a_sale_pays_in_dollars_and_a_stock_nothing(bench: Bench) -> None:
    """A sale of coins pays its fee in dollars. Stocks are free of commission."""
    bench.order(side="sell", qty="0.1")
    fill = bench.state.fills[-1]
    assert (fill.fee_currency, fill.fee) == ("USD", fill.cost * Decimal("0.0025"))
    bench.order(symbol="AAPL", qty="1.5", time_in_force="day")
    assert bench.state.fills[-1].fee == 0


def test_an_id_is_taken_once_and_for_good(bench: Bench) -> None:
    """The id cannot be used again after its order is filled or canceled: 422 with code 40010001."""
    bench.order(client_order_id="filled")
    _, resting = bench.order(RESTS, client_order_id="canceled")
    assert bench.ask("DELETE", f"/v2/orders/{resting['id']}") == (204, None)
    for name in ("filled", "canceled"):
        status, reply = bench.order(client_order_id=name)
        assert (status, reply["code"]) == (422, 40010001)
        assert "unique" in reply["message"]
    assert len(bench.state.orders) == 2


@pytest.mark.parametrize(
    ("changes", "status", "code", "text"),
    [
        ({"qty": "0.0001"}, 403, 40310000, "cost basis must be >= minimal amount of order 10"),
        ({"symbol": "AAPL", "time_in_force": "day", "qty": "0.001"}, 403, 40310000, "must be >= 1"),
        ({"qty": "1"}, 403, 40310000, "insufficient balance for USD"),
        ({"side": "sell", "qty": "3"}, 403, 40310000, "insufficient balance for BTC"),
        ({"symbol": "AAPL", "time_in_force": "day", "qty": "900"}, 403, 40310000, "insufficient buying power"),
        ({"symbol": "AAPL", "time_in_force": "day", "side": "sell", "qty": "9"}, 403, 40310000, "insufficient qty"),
        ({"symbol": "NO/USD"}, 422, 42210000, "not found"),
        ({"side": "hold"}, 422, 40010001, "side"),
        ({"type": "stop"}, 422, 40010001, "order type"),
        ({"qty": None}, 422, 40010001, "qty or notional is required"),
        ({"notional": "50"}, 422, 40010001, "only one of qty or notional"),
        ({"qty": None, "notional": "50.001"}, 422, 40010001, "2 decimal places"),
        ({"qty": "NaN"}, 422, 40010001, "qty"),
        ({"qty": "-1"}, 422, 40010001, "qty"),
        ({"qty": "0.0100000001"}, 422, 40010001, "qty"),
        ({"time_in_force": "day"}, 422, 42210000, "time_in_force"),
        ({"symbol": "AAPL", "qty": "0.5", "time_in_force": "gtc"}, 422, 42210000, "fractional"),
        ({"limit_price": "50000"}, 422, 40010001, "limit_price"),
        ({"type": "limit"}, 422, 40010001, "limit_price"),
        ({"type": "limit", "limit_price": "50000.01"}, 422, 42210000, "multiple"),
        ({"client_order_id": "x" * 49}, 422, 40010001, "48"),
        ({"client_order_id": 5}, 422, 40010001, "client_order_id"),
    ],
)
def test_a_wrong_order_is_refused_in_alpacas_words(
    bench: Bench, changes: dict[str, Any], status: int, code: int, text: str
) -> None:
    """Status, code and text are Alpaca's, and no order is placed."""
    found, reply = bench.order(**changes)
    assert (found, reply["code"]) == (status, code)
    assert text in reply["message"]
    assert bench.state.orders == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"'])
def test_a_body_that_is_no_object_is_refused(bench: Bench, body: bytes) -> None:
    """The reply is 400 with code 40010000."""
    status, reply = bench.ask("POST", PLACE, body=body)
    assert (status, reply["code"]) == (400, 40010000)


def test_a_blocked_account_reads_and_does_not_trade() -> None:
    """The account shows that it is blocked. The refusal of an order says so, too, and does not blame the order."""
    bench = Bench(permissions=frozenset({"read"}))
    assert bench.ask("GET", "/v2/account")[1]["trading_blocked"] is True
    status, reply = bench.order()
    assert (status, reply["code"]) == (403, 40310000)
    assert reply["message"] == "account is not authorized to trade"


def test_orders_by_notional_are_sized_in_dollars(bench: Bench) -> None:
    """A purchase spends the amount, and a sale brings about that amount. A JSON number is read like text."""
    _, bought = bench.order(qty=None, notional=500)
    _, shown = bench.ask("GET", f"/v2/orders/{bought['id']}")
    assert (shown["notional"], shown["qty"], shown["filled_qty"]) == ("500", None, "0.009999")
    _, sold = bench.order(qty=None, notional="100", side="sell")
    _, shown = bench.ask("GET", f"/v2/orders/{sold['id']}")
    assert Decimal("0.00199") < Decimal(shown["filled_qty"]) < Decimal("0.00201")


def test_an_open_order_holds_until_it_is_canceled(bench: Bench) -> None:
    """A purchase lowers the buying power, a sale the available quantity. An ended order cannot be canceled again."""
    _, buy = bench.order(type="limit", limit_price="40000", qty="0.1")
    _, sell = bench.order(RESTS, side="sell", qty="0.2")
    account, position = bench.ask("GET", "/v2/account")[1], bench.ask("GET", "/v2/positions/BTC%2FUSD")[1]
    assert (account["cash"], account["non_marginable_buying_power"]) == ("10000", "6000")
    assert (position["qty"], position["qty_available"]) == ("0.5", "0.3")
    assert [order["id"] for order in bench.ask("GET", "/v2/orders")[1]] == [sell["id"], buy["id"]]
    assert bench.ask("DELETE", f"/v2/orders/{buy['id']}")[0] == 204
    status, reply = bench.ask("DELETE", f"/v2/orders/{buy['id']}")
    assert (status, reply["code"]) == (422, 42210000)
    assert bench.ask("DELETE", "/v2/orders")[1][0]["id"] == sell["id"]
    assert bench.ask("DELETE", "/v2/orders/nothing")[0] == 404
    assert bench.ask("GET", "/v2/account")[1]["non_marginable_buying_power"] == "10000"


def test_a_purchase_may_be_filled_in_parts(bench: Bench) -> None:
    """The order is partly filled, then filled. Each part is a separate activity."""
    _, placed = bench.order(ExecutionTerms(fraction=Decimal("0.25"), rest_after_microseconds=1_000_000), qty="0.04")
    assert bench.ask("GET", f"/v2/orders/{placed['id']}")[1]["status"] == "partially_filled"
    bench.now += 2_000_000
    assert bench.ask("GET", f"/v2/orders/{placed['id']}")[1]["status"] == "filled"
    _, activities = bench.ask("GET", "/v2/account/activities/FILL", direction="asc")
    shown = [(a["type"], a["qty"], a["cum_qty"], a["leaves_qty"]) for a in activities]
    assert shown == [("partial_fill", "0.01", "0.01", "0.03"), ("fill", "0.03", "0.04", "0")]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_activities_go_on_after_the_last_id(bench: Bench, direction: str) -> None:
    """The pages together contain each fill once and in order, for either direction. `after` leaves out older fills."""
    for _ in range(7):
        bench.order(qty="0.001")
    found: list[str] = []
    query: dict[str, Any] = {"direction": direction, "page_size": 3}
    while page := bench.ask("GET", "/v2/account/activities/FILL", **query)[1]:
        found += [activity["id"] for activity in page]
        query["page_token"] = found[-1]
    expected = [fill.fill_id for fill in bench.state.fills]
    assert found == (expected if direction == "asc" else expected[::-1])
    after = time_text(bench.state.fills[2].executed_at)
    later = bench.ask("GET", "/v2/account/activities", activity_types="FILL", direction="asc", after=after)[1]
    assert [activity["id"] for activity in later] == expected[3:]
    assert bench.ask("GET", "/v2/account/activities/FILL", page_token="nothing")[0] == 422


def test_orders_are_listed_by_status_time_and_symbol(bench: Bench) -> None:
    """The newest order comes first, unless the request asks for another direction."""
    ids = [bench.order(qty="0.001")[1]["id"] for _ in range(3)]
    apple = bench.order(symbol="AAPL", qty="1", time_in_force="day")[1]["id"]
    assert bench.ask("GET", "/v2/orders")[1] == []
    assert [o["id"] for o in bench.ask("GET", "/v2/orders", status="closed", limit=2)[1]] == [apple, ids[2]]
    assert [o["id"] for o in bench.ask("GET", "/v2/orders", status="all", symbols="AAPL")[1]] == [apple]
    after = time_text(bench.state.orders[0].accepted_at)
    listed = bench.ask("GET", "/v2/orders", status="all", direction="asc", after=after)[1]
    assert [o["id"] for o in listed] == [*ids[1:], apple]
    for wrong in ({"status": "odd"}, {"limit": 501}, {"direction": "up"}, {"after": "yesterday"}):
        assert bench.ask("GET", "/v2/orders", **wrong)[0] == 422


def test_an_order_that_shows_late_is_not_found_before(bench: Bench) -> None:
    """It is not found by either id or in the lists."""
    _, placed = bench.order(ExecutionTerms(invisible_microseconds=1_000_000), client_order_id="late")
    paths = (f"/v2/orders/{placed['id']}", "/v2/orders:by_client_order_id")
    for path in paths:
        status, reply = bench.ask("GET", path, client_order_id="late")
        assert (status, reply["code"]) == (404, 40410000)
    assert bench.ask("GET", "/v2/orders", status="all")[1] == bench.ask("GET", "/v2/account/activities/FILL")[1] == []
    bench.now += 1_000_000
    assert [bench.ask("GET", path, client_order_id="late")[0] for path in paths] == [200, 200]


def test_the_limit_is_200_requests_a_minute() -> None:
    """The limit is per account. Beyond it, the reply is 429 until the minute is over. Prices have their own limit."""
    bench = Bench(enforces_rate_limits=True)
    assert {bench.ask("GET", "/v2/clock")[0] for _ in range(200)} == {200}
    status, reply = bench.ask("GET", "/v2/clock")
    assert (status, reply["code"]) == (429, 42910000)
    assert bench.ask("GET", "/v1beta3/crypto/us/latest/trades", symbols="BTC/USD")[0] == 200
    bench.now += 59_000_000
    assert bench.ask("GET", "/v2/clock")[0] == 429
    bench.now += 1_000_000
    assert bench.ask("GET", "/v2/clock")[0] == 200


def test_prices_of_coins_are_limited_per_address_and_in_other_words() -> None:
    """200 requests a minute without a key; beyond it, the reply has no code."""
    bench = Bench(enforces_rate_limits=True)
    path = "/v1beta3/crypto/us/latest/trades"
    statuses = {bench.ask("GET", path, headers={}, symbols="BTC/USD")[0] for _ in range(200)}
    assert statuses == {200}
    assert bench.ask("GET", path, headers={}, symbols="BTC/USD") == (429, {"message": "too many requests."})
    assert bench.ask("GET", path, symbols="BTC/USD")[0] == 200


@pytest.mark.parametrize(("timeframe", "minutes"), [("1Min", 1), ("5Min", 5), ("1Hour", 60), ("1Day", 1_440)])
def test_bars_enclose_their_minutes(bench: Bench, timeframe: str, minutes: int) -> None:
    """Bars come in steps of the timeframe, oldest first. Open and close are between low and high."""
    start = time_text(START - 86_400_000_000)
    for path, symbol in (("/v1beta3/crypto/us/bars", "BTC/USD"), ("/v2/stocks/bars", "AAPL")):
        status, reply = bench.ask("GET", path, symbols=symbol, timeframe=timeframe, start=start, limit=50)
        assert status == 200
        bars = reply["bars"][symbol]
        assert bars == sorted(bars, key=lambda bar: bar["t"])
        assert all(bar["l"] <= min(bar["o"], bar["c"]) <= max(bar["o"], bar["c"]) <= bar["h"] for bar in bars)
        assert {int(bar["t"][11:13]) * 60 + int(bar["t"][14:16]) for bar in bars} <= set(range(0, 1_440, minutes))


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1beta3/crypto/us/bars", {"symbols": "BTC/USD", "timeframe": "often"}),
        ("/v1beta3/crypto/us/bars", {"symbols": "BTC/USD", "timeframe": "1Min", "start": "then"}),
        ("/v1beta3/crypto/us/latest/trades", {}),
        ("/v1beta3/crypto/us/latest/trades", {"symbols": "BTCUSD"}),
        ("/v2/stocks/trades/latest", {"symbols": "NOPE"}),
    ],
)
def test_wrong_questions_for_prices_are_refused(bench: Bench, path: str, query: dict[str, str]) -> None:
    """The reply is 400 in the form of the data API."""
    status, reply = bench.ask("GET", path, **query)
    assert status == 400
    assert reply["message"].startswith("code=400")


def test_calls_have_one_name_each_whatever_they_ask_for(bench: Bench) -> None:
    """The control interface switches faults on by these names."""

    def named(method: str, path: str, query: str = "") -> str:
        return bench.dialect.endpoint(Request(method, path, query, {}, b""))

    assert named("POST", "/v2/orders") == "POST /v2/orders"
    assert bench.dialect.places_order("POST /v2/orders")
    assert named("GET", "/v2/orders/some-id") == "GET /v2/orders/{id}"
    assert named("DELETE", "/v2/orders/some-id") == "DELETE /v2/orders/{id}"
    assert named("GET", "/v2/orders:by_client_order_id") == "GET /v2/orders:by_client_order_id"
    assert named("GET", "/v2/account/activities", "activity_types=FILL") == "GET /v2/account/activities/FILL"


def test_ether_that_was_paid_with_bitcoin_is_one_position_in_dollars(bench: Bench) -> None:
    """Ether has two pairs, but it is shown once, and it is worth its price in dollars once."""
    bench.exchange.pin_price("ETH/USD", Decimal(2_500))
    before = Decimal(bench.ask("GET", "/v2/account")[1]["equity"])
    assert bench.order(symbol="ETH/BTC", qty="0.5")[0] == 200
    assert sorted(each["symbol"] for each in bench.ask("GET", "/v2/positions")[1]) == ["AAPL", "BTCUSD", "ETHUSD"]
    assert before - 5 < Decimal(bench.ask("GET", "/v2/account")[1]["equity"]) < before
