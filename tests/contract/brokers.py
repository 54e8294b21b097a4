"""Lists the brokers that the contract suite runs for, each with the rules in which it differs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from tests.contract import times

BITCOIN = Symbol("BTC", "USD")


@dataclass(frozen=True)
class Terms:
    """The names and rules of one broker that the suite must know."""

    broker: Broker
    place_endpoint: str
    """The name of the call that places an order, as the paper broker spells it. It addresses faults."""
    order_endpoint: str
    balances_endpoint: str
    fills_endpoint: str
    permissions_endpoint: str
    trading_permissions: tuple[str, ...]
    """The permissions of a key that may read and trade."""
    reading_permissions: tuple[str, ...]
    """The permissions of a key that may only read."""
    withdrawing_permissions: tuple[str, ...]
    filled_id_buys_again: bool
    """Whether the client order id of a filled order may be used again. The broker then buys a second time."""
    unlisted_name: str
    """The name of a pair that the broker does not list, in the spelling of the broker."""
    page_size: int
    """The number of fills on one page."""
    pages_after_the_last: int
    """How many pages of fills are read to find out that the page before was the last one."""
    open_orders_page: int
    """The number of open orders on one page. Any number, if the broker returns all of them at once."""
    pressed_call: tuple[Any, ...]
    """A call of the ordinary client library, with its parameters, that is sent until it is refused."""
    requests_before_refusal: int
    """How many of these calls pass at once."""
    too_many_text: str
    mode_texts: Mapping[str, str]
    """By the mode of a market, the words in which an order is refused."""
    ban_text: str = ""
    """The answer to a client that does not slow down after ten refusals, if that changes anything."""
    has_odd_wallets: bool = True
    """Whether accounts hold staked and wrapped coins under names of their own."""
    symbol: Symbol = BITCOIN
    """The pair in which orders are placed: bitcoin against a kind of dollar."""
    fee_in_received: bool = False
    """Whether the fee of a buy is taken in the coin instead of the quote currency."""
    repeated_id_returns_first: bool = False
    """Whether a repeated order is answered with the first order of its id instead of an error."""
    request_expires: bool = True
    """Whether a request can carry the time until which it may be executed.

    If not, its id must prevent a second order.
    """
    checks_nonce_or_clock: bool = True
    """Whether a request can be refused for its nonce or its time."""
    times_in_order: Callable[[Mapping[str, str], str], list[float]] | None = None
    """Reads the times from the headers and the content of an order. None: a request carries no time."""
    tells_permissions: bool = True
    """Whether the broker reports that a key may not withdraw."""
    answers_for_unlisted: bool = False
    """Whether candles and trades of a pair that is not listed are an empty answer instead of an error."""
    leaves_quiet_candles_out: bool = False
    """Whether an interval without a trade has no candle."""
    margin_stock: str | None = None
    """A stock for which the broker lends money, twice an account's own; None: it lends nothing."""
    small_quantity: str = "0.0001"
    """A quantity of bitcoin slightly above the minimum of the broker."""
    shows_time_in_force: bool = True
    """Whether ccxt finds the time in force in the reply for an order."""
    ccxt_paths: Mapping[str, str] = field(default_factory=lambda: {"rest": ""})
    """The names of the broker's addresses in ccxt, each with the path that follows the server's address."""

    @property
    def quote(self) -> str:
        return self.symbol.quote

    def fee_currency(self, side: Side) -> str:
        return "BTC" if self.fee_in_received and side is Side.BUY else self.quote


BROKERS = [
    Terms(
        broker=Broker.KRAKEN,
        times_in_order=times.deadline,
        pressed_call=("private_post_balanceex",),
        requests_before_refusal=15,
        too_many_text="EAPI:Rate limit exceeded",
        ban_text="EGeneral:Temporary lockout",
        mode_texts={
            "cancel_only": "EService:Market in cancel_only mode",
            "post_only": "EService:Market in post_only mode",
            "limit_only": "EService:Market in limit_only mode",
            "halted": "EOrder:Trading disabled",
            "closed": "EOrder:Market is closed",
        },
        place_endpoint="AddOrder",
        order_endpoint="QueryOrders",
        balances_endpoint="BalanceEx",
        fills_endpoint="TradesHistory",
        permissions_endpoint="GetApiKeyInfo",
        trading_permissions=("query-funds", "query-open-trades", "query-closed-trades", "modify-trades"),
        reading_permissions=("query-funds", "query-open-trades", "query-closed-trades"),
        withdrawing_permissions=("query-funds", "modify-trades", "withdraw-funds"),
        filled_id_buys_again=True,
        unlisted_name="NOPEUSD",
        page_size=50,
        pages_after_the_last=0,
        open_orders_page=50,
        shows_time_in_force=False,
        ccxt_paths={"public": "", "private": ""},
    ),
    Terms(
        broker=Broker.COINBASE,
        times_in_order=times.token,
        pressed_call=("v3_public_get_brokerage_market_product_book", {"product_id": "BTC-USD"}),
        requests_before_refusal=10,
        too_many_text="too many requests",
        mode_texts={
            "cancel_only": "cancel only mode",
            "post_only": "post only mode",
            "limit_only": "limit only mode - please use limit order type",
            "halted": "TRADING_DISABLED",
        },
        place_endpoint="create_order",
        order_endpoint="get_order",
        balances_endpoint="list_accounts",
        fills_endpoint="list_fills",
        permissions_endpoint="key_permissions",
        trading_permissions=("can_view", "can_trade"),
        reading_permissions=("can_view",),
        withdrawing_permissions=("can_view", "can_trade", "can_transfer"),
        filled_id_buys_again=False,
        unlisted_name="NOPE-USD",
        page_size=250,
        pages_after_the_last=0,
        open_orders_page=250,
        repeated_id_returns_first=True,
        leaves_quiet_candles_out=True,
    ),
    Terms(
        broker=Broker.OKX,
        times_in_order=times.access_timestamp,
        pressed_call=("private_get_account_balance",),
        requests_before_refusal=10,
        too_many_text='"code":"50011"',
        mode_texts={"limit_only": "51124", "halted": "51022", "closed": "51087"},
        place_endpoint="trade/batch-orders",
        order_endpoint="GET trade/order",
        balances_endpoint="account/balance",
        fills_endpoint="trade/fills-history",
        permissions_endpoint="account/config",
        trading_permissions=("read_only", "trade"),
        reading_permissions=("read_only",),
        withdrawing_permissions=("read_only", "trade", "withdraw"),
        filled_id_buys_again=True,
        unlisted_name="NOPE-USDT",
        page_size=100,
        pages_after_the_last=1,
        open_orders_page=100,
        symbol=Symbol("BTC", "USDT"),
        fee_in_received=True,
    ),
    Terms(
        broker=Broker.BINANCE,
        times_in_order=times.timestamp,
        pressed_call=("public_get_ticker_24hr",),
        requests_before_refusal=75,
        too_many_text="Too much request weight used; current limit is 6000 request weight per 1 MINUTE.",
        ban_text="Way too much request weight used; IP banned until ",
        mode_texts={
            "limit_only": "Market orders are not supported for this symbol.",
            "halted": "Market is closed.",
            "closed": "Market is closed.",
        },
        place_endpoint="POST order",
        order_endpoint="GET order",
        balances_endpoint="GET account",
        fills_endpoint="GET myTrades",
        permissions_endpoint="GET account/apiRestrictions",
        trading_permissions=("enableReading", "enableSpotAndMarginTrading"),
        reading_permissions=("enableReading",),
        withdrawing_permissions=("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals"),
        filled_id_buys_again=True,
        unlisted_name="NOPEUSDT",
        page_size=500,
        pages_after_the_last=1,
        open_orders_page=50,
        symbol=Symbol("BTC", "USDT"),
        fee_in_received=True,
        ccxt_paths={"public": "/api/v3", "private": "/api/v3", "sapi": "/sapi/v1", "v1": "/api/v1"},
    ),
    Terms(
        broker=Broker.ALPACA,
        pressed_call=("get_clock",),
        requests_before_refusal=200,
        too_many_text="rate limit exceeded",
        mode_texts={"halted": "asset BTC/USD is not tradable"},
        has_odd_wallets=False,
        place_endpoint="POST /v2/orders",
        order_endpoint="GET /v2/orders/{id}",
        balances_endpoint="GET /v2/account",
        fills_endpoint="GET /v2/account/activities/FILL",
        permissions_endpoint="GET /v2/account",
        trading_permissions=("read", "trade"),
        reading_permissions=("read",),
        withdrawing_permissions=("read", "trade"),
        filled_id_buys_again=False,
        unlisted_name="NOPE/USD",
        page_size=100,
        pages_after_the_last=1,
        open_orders_page=500,
        fee_in_received=True,
        request_expires=False,
        checks_nonce_or_clock=False,
        tells_permissions=False,
        answers_for_unlisted=True,
        leaves_quiet_candles_out=True,
        margin_stock="AAPL",
        small_quantity="0.0003",
    ),
]


def terms_of(broker: Broker) -> Terms:
    """Return the terms of one broker."""
    (terms,) = [each for each in BROKERS if each.broker is broker]
    return terms
