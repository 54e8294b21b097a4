"""Tests requests to the dialect as HTTP brings them, and Coinbase's own words for what is wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import ccxt
import orjson
import pytest

from services.paper_broker.coinbase.dialect import CoinbaseDialect
from services.paper_broker.coinbase.tokens import new_key
from services.paper_broker.dialect import Reply, Request
from shared.exchange.orders import AT_ONCE, ExecutionTerms

HOST = "127.0.0.1:8123"
BASE = "/api/v3/brokerage/"
LATE = ExecutionTerms(fraction=Decimal(0), rest_after_microseconds=60_000_000)


@dataclass
class Caller:
    """An account's key, and how requests with it are answered."""

    bench: Any
    dialect: CoinbaseDialect
    client: Any

    def ask(self, path: str, body: Any = None, execution: ExecutionTerms = AT_ONCE, **query: Any) -> Reply:
        full_path = path if path.startswith("/") else BASE + path
        method = "GET" if body is None else "POST"
        seconds = self.bench.now // 1_000_000
        token = self.client.create_auth_token(seconds, method, f"http://{HOST}{full_path}")
        headers = {"Authorization": f"Bearer {token}", "Host": HOST}
        content = b"" if body is None else orjson.dumps(body)
        request = Request(method, full_path, urlencode(query, doseq=True), headers, content)
        return self.dialect.answer(request, self.bench.exchange, execution)

    def read(self, path: str, body: Any = None, execution: ExecutionTerms = AT_ONCE, **query: Any) -> Any:
        reply = self.ask(path, body, execution, **query)
        assert reply.status == 200, reply.body
        return orjson.loads(reply.body)

    def place(self, client_order_id: str, execution: ExecutionTerms = AT_ONCE, **details: str) -> Any:
        details = details or {"base_size": "0.01"}
        return self.read("orders", order(client_order_id, {"market_market_ioc": details}), execution)


def order(client_order_id: str, configuration: Any, side: str = "BUY", product_id: str = "BTC-USD") -> dict[str, Any]:
    return {
        "client_order_id": client_order_id,
        "product_id": product_id,
        "side": side,
        "order_configuration": configuration,
    }


@pytest.fixture
def caller(bench: Any) -> Caller:
    return make_caller(bench, "trader")


def make_caller(bench: Any, name: str, *permissions: str, limited: bool = False) -> Caller:
    dialect = CoinbaseDialect(enforces_rate_limits=limited)
    bench.exchange.fee_rates = dialect.fee_rates
    key, pem = new_key()
    allowed = frozenset(permissions) or dialect.default_permissions
    bench.state.add_account(name, {"USD": Decimal(10_000), "BTC": Decimal(1)}, [(key, pem)], allowed)
    return Caller(bench, dialect, ccxt.coinbase({"apiKey": key, "secret": pem}))


def test_a_client_order_id_makes_an_order_the_same_order(caller: Caller) -> None:
    """Sent again while it is open or filled, also with another size, the first one is returned; one is in the log."""
    filled, still_open = caller.place("a"), caller.place("b", LATE)
    assert filled["success"] is still_open["success"] is True
    assert caller.place("a", base_size="0.5")["order_id"] == filled["order_id"]
    assert caller.place("b")["success_response"]["order_id"] == still_open["order_id"]
    assert len(caller.bench.state.orders) == 2
    other = make_caller(caller.bench, "another")
    assert other.place("a")["order_id"] != filled["order_id"]


def test_a_size_in_quote_currency_includes_the_fee(caller: Caller) -> None:
    """100 dollars are spent with fee and all, and the order shows what was asked for."""
    placed = caller.place("a", quote_size="100")
    assert placed["order_configuration"] == {"market_market_ioc": {"quote_size": "100.00"}}
    shown = caller.read(f"orders/historical/{placed['order_id']}")["order"]
    spent = Decimal(shown["filled_value"]) + Decimal(shown["total_fees"])
    assert Decimal("99.99") < spent <= 100
    assert shown["total_fees"] == f"{Decimal(shown['filled_value']) * Decimal('0.006'):.5f}"
    assert (shown["status"], shown["size_in_quote"], shown["completion_percentage"]) == ("FILLED", True, "100.00")
    (fill,) = caller.read("orders/historical/fills")["fills"]
    assert fill["size_in_quote"] is True
    assert Decimal(fill["size"]) / Decimal(fill["price"]) == Decimal(shown["filled_size"])


@pytest.mark.parametrize(
    ("configuration", "side", "reason"),
    [
        ({"market_market_ioc": {"base_size": "0.00001"}}, "BUY", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
        ({"market_market_ioc": {"base_size": "0.000000001"}}, "BUY", "PREVIEW_INVALID_SIZE_PRECISION"),
        ({"market_market_ioc": {"base_size": "0"}}, "BUY", "PREVIEW_INVALID_ORDER_CONFIG"),
        ({"market_market_ioc": {"quote_size": "10.001"}}, "BUY", "PREVIEW_INVALID_QUOTE_SIZE_PRECISION"),
        ({"market_market_ioc": {"quote_size": "10"}}, "SELL", "PREVIEW_INVALID_ORDER_CONFIG"),
        ({"market_market_ioc": {"base_size": "0.9"}}, "BUY", "PREVIEW_INSUFFICIENT_FUND"),
        (
            {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "50000.01"}},
            "BUY",
            "PREVIEW_INVALID_PRICE_PRECISION",
        ),
        (
            {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "60000", "post_only": True}},
            "BUY",
            "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
        ),
        ({"stop_limit_stop_limit_gtc": {"base_size": "0.1"}}, "BUY", "PREVIEW_INVALID_ORDER_CONFIG"),
    ],
)
def test_an_order_that_is_not_taken_says_why(caller: Caller, configuration: Any, side: str, reason: str) -> None:
    """With status 200 and `success: false`, and nothing in the log."""
    reply = caller.read("orders", order("a", configuration, side))
    assert reply["success"] is False
    assert reply["error_response"]["preview_failure_reason"] == reason
    assert reply["order_id"] == ""
    assert reply["order_configuration"] == configuration
    assert caller.bench.state.orders == []


@pytest.mark.parametrize(
    "change",
    [
        {"client_order_id": ""},
        {"client_order_id": None},
        {"product_id": "BTC-EUR"},
        {"product_id": 7},
        {"side": "HOLD"},
        {"order_configuration": None},
        {"order_configuration": {}},
        {"order_configuration": {"market_market_ioc": {}}},
        {"order_configuration": {"market_market_ioc": {"base_size": "1", "quote_size": "1"}}},
        {"order_configuration": {"market_market_ioc": {"base_size": 1}}},
        {"order_configuration": {"market_market_ioc": {"base_size": "NaN"}}},
        {"order_configuration": {"market_market_ioc": "1"}},
    ],
)
def test_a_request_that_means_nothing_is_an_invalid_argument(caller: Caller, change: dict[str, Any]) -> None:
    """Status 400; numbers are text."""
    body = order("a", {"market_market_ioc": {"base_size": "0.01"}}) | change
    reply = caller.ask("orders", body)
    assert (reply.status, orjson.loads(reply.body)["error"]) == (400, "INVALID_ARGUMENT")


def test_what_a_limit_order_holds_is_not_available(caller: Caller) -> None:
    """Hold and available add up to the total; cancelling gives it back, once."""
    placed = caller.read("orders", order("a", {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "30000"}}))
    wallets = {each["currency"]: each for each in caller.read("accounts")["accounts"]}
    held, available = (Decimal(wallets["USD"][name]["value"]) for name in ("hold", "available_balance"))
    assert (held, held + available) == (Decimal(3_018), Decimal(10_000))
    cancel = {"order_ids": [placed["order_id"], "another"]}
    first, unknown = caller.read("orders/batch_cancel", cancel)["results"]
    assert (first["success"], unknown["failure_reason"]) == (True, "UNKNOWN_CANCEL_ORDER")
    assert caller.read("orders/batch_cancel", cancel)["results"][0]["success"] is False
    wallets = {each["currency"]: each for each in caller.read("accounts")["accounts"]}
    assert Decimal(wallets["USD"]["hold"]["value"]) == 0
    (shown,) = caller.read("orders/historical/batch", order_status="CANCELLED")["orders"]
    assert shown["order_id"] == placed["order_id"]


@pytest.mark.parametrize(
    ("path", "field"), [("orders/historical/batch", "orders"), ("orders/historical/fills", "fills")]
)
def test_a_cursor_loses_and_doubles_nothing_while_new_ones_arrive(caller: Caller, path: str, field: str) -> None:
    """Newest first; what is traded between two pages is on neither."""
    placed = []
    for number in range(5):
        caller.bench.wait(1)
        placed.append(caller.place(f"order-{number}", base_size="0.001")["order_id"])
    first = caller.read(path, limit=2)
    caller.place("meanwhile", base_size="0.001")
    second = caller.read(path, limit=2, cursor=first["cursor"])
    third = caller.read(path, limit=2, cursor=second["cursor"])
    shown = [entry["order_id"] for page in (first, second, third) for entry in page[field]]
    assert shown == placed[::-1]
    assert third["cursor"] == ""


def test_lists_are_cut_by_time_and_by_what_is_asked_for(caller: Caller) -> None:
    """Starts are included; a repeated name is a list; OPEN goes with no other state."""
    first = caller.place("first")
    caller.bench.wait(1)
    second = caller.read("orders", order("second", {"market_market_ioc": {"base_size": "0.1"}}, product_id="ETH-USD"))
    created = caller.read(f"orders/historical/{second['order_id']}")["order"]["created_time"]
    assert [each["order_id"] for each in caller.read("orders/historical/batch", start_date=created)["orders"]] == [
        second["order_id"]
    ]
    assert [each["order_id"] for each in caller.read("orders/historical/batch", end_date=created)["orders"]] == [
        first["order_id"]
    ]
    fills = caller.read("orders/historical/fills", start_sequence_timestamp=created)["fills"]
    assert {each["order_id"] for each in fills} == {second["order_id"]}
    both = caller.read("orders/historical/batch", product_ids=["BTC-USD", "ETH-USD"])["orders"]
    assert len(both) == 2
    assert caller.read("orders/historical/batch", order_status="OPEN")["orders"] == []
    assert caller.ask("orders/historical/batch", order_status=["OPEN", "FILLED"]).status == 400
    assert caller.ask("orders/historical/batch", start_date="yesterday").status == 400


def test_an_order_that_shows_late_is_on_no_list_and_still_the_same(caller: Caller) -> None:
    """Neither by its id; but sending it again does not buy again."""
    hidden = caller.place("a", ExecutionTerms(invisible_microseconds=1_000_000))
    assert caller.ask(f"orders/historical/{hidden['order_id']}").status == 404
    assert caller.read("orders/historical/batch")["orders"] == []
    assert caller.read("orders/historical/fills")["fills"] == []
    assert caller.place("a")["order_id"] == hidden["order_id"]
    caller.bench.wait(1.1)
    assert caller.read("orders/historical/batch")["orders"][0]["order_id"] == hidden["order_id"]


def test_a_key_does_what_it_may(bench: Any) -> None:
    """Reading, trading and transferring are permissions of their own; a key may always ask for its own."""
    reading = make_caller(bench, "reading", "can_view")
    assert reading.read("accounts")["size"] == 2
    reply = reading.ask("orders", order("a", {"market_market_ioc": {"base_size": "0.01"}}))
    assert (reply.status, orjson.loads(reply.body)["error"]) == (403, "PERMISSION_DENIED")
    reported = make_caller(bench, "moving", "can_transfer").read("key_permissions")
    assert (reported["can_view"], reported["can_trade"], reported["can_transfer"]) == (False, False, True)


def test_without_a_token_only_market_data_is_served(caller: Caller) -> None:
    """Coinbase's plain words for all else."""
    for path, status in (("market/products", 200), ("time", 200), ("products", 401), ("accounts", 401), ("no", 404)):
        request = Request("GET", BASE + path, "", {"Host": HOST}, b"")
        reply = caller.dialect.answer(request, caller.bench.exchange, AT_ONCE)
        assert reply.status == status
    request = Request("GET", BASE + "accounts", "", {"Host": HOST}, b"")
    assert caller.dialect.answer(request, caller.bench.exchange, AT_ONCE).body == b"Unauthorized\n"


def test_limits_are_thirty_private_calls_a_second_and_ten_public_ones(bench: Any) -> None:
    """Per user, and per address; they come back with time."""
    limited = make_caller(bench, "busy", limited=True)
    assert [limited.ask("accounts").status for _ in range(31)] == [200] * 30 + [429]
    assert [limited.ask("market/products", limit=1).status for _ in range(3)] == [200] * 3
    public = Request("GET", BASE + "market/product_book", "product_id=BTC-USD", {"Host": HOST}, b"")
    statuses = [limited.dialect.answer(public, bench.exchange, AT_ONCE).status for _ in range(8)]
    assert statuses == [200] * 7 + [429]
    bench.wait(1)
    assert limited.ask("accounts").status == 200


@pytest.mark.parametrize(("kind", "status"), [("invalid_nonce", 401), ("maintenance", 503), ("internal_error", 500)])
def test_each_fault_has_coinbases_shape(kind: str, status: int) -> None:
    """JSON with a status; ccxt knows the codes."""
    reply = CoinbaseDialect(enforces_rate_limits=False).fault_reply(kind, "create_order")
    assert reply.status == status
    document = orjson.loads(reply.body)
    assert document.get("error") or document["errors"][0]["id"] == "authentication_error"


def test_an_order_too_many_gets_a_page_and_a_reading_too_many_gets_json() -> None:
    """This was recorded in 2025: the page is the one for browsers."""
    dialect = CoinbaseDialect(enforces_rate_limits=False)
    order, reading = (dialect.fault_reply("rate_limit", name) for name in ("create_order", "get_order"))
    assert (order.status, order.content_type) == (429, "text/html")
    assert (reading.status, orjson.loads(reading.body)["error"]) == (429, "resource_exhausted")


def test_calls_have_the_names_that_faults_use(caller: Caller) -> None:
    """By method and path; ids in a path do not matter; what is no call goes by its path."""
    named: Callable[[str, str], str] = lambda method, path: caller.dialect.endpoint(  # noqa: E731
        Request(method, BASE + path, "", {}, b"")
    )
    assert named("POST", "orders") == "create_order"
    assert caller.dialect.places_order(named("POST", "orders"))
    assert named("GET", "orders/historical/batch") == "list_orders"
    assert named("GET", "orders/historical/fills") == "list_fills"
    assert named("GET", "orders/historical/an-id") == "get_order"
    assert named("GET", "market/products/BTC-USD/candles") == "candles"
    assert named("GET", "market/products/BTC-USD/nothing") == BASE + "market/products/BTC-USD/nothing"
    assert named("PUT", "orders") == BASE + "orders"


def test_a_client_order_id_is_remembered_over_a_restart(make_bench: Any, tmp_path: Any) -> None:
    """The journal has the orders with their ids, so a killed paper broker buys nothing twice either."""
    before = make_bench(tmp_path / "journal")
    before.exchange.pin_price("BTC/USD", Decimal(50_000))
    caller = make_caller(before, "trader")
    first = caller.place("a")
    before.journal.commit()
    before.journal.close()
    after = make_bench(tmp_path / "journal")
    restarted = Caller(after, CoinbaseDialect(enforces_rate_limits=False), caller.client)
    after.now = before.now
    assert restarted.place("a")["order_id"] == first["order_id"]
    assert len(after.state.orders) == 1
    after.journal.close()
