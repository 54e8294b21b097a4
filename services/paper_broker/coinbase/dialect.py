"""Serves the REST API of Coinbase Advanced over the simulated exchange.

A private request passes, in Coinbase's order: token, permission, rate limit, arguments. Order ids and cursors are
checked where they are used. The calls' names are those of Coinbase's reference, in snake case.
"""

from decimal import Decimal
from typing import Any, Final

import orjson

from services.paper_broker.coinbase import private, public, rate_limits, replies, tokens
from services.paper_broker.coinbase.arguments import arguments_of
from services.paper_broker.coinbase.wire_names import identifiers
from services.paper_broker.dialect import DialectMaker, Reply, Request
from shared.exchange.accounts import ApiKey
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.instruments import INSTRUMENTS
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms

_BROKERAGE = "/api/v3/brokerage/"
VIEW, TRADE, TRANSFER = "can_view", "can_trade", "can_transfer"

_CALLS: dict[tuple[str, str], str] = {
    ("POST", _BROKERAGE + "orders"): "create_order",
    ("POST", _BROKERAGE + "orders/batch_cancel"): "cancel_orders",
    ("GET", _BROKERAGE + "orders/historical/batch"): "list_orders",
    ("GET", _BROKERAGE + "orders/historical/fills"): "list_fills",
    ("GET", _BROKERAGE + "accounts"): "list_accounts",
    ("GET", _BROKERAGE + "key_permissions"): "key_permissions",
    ("GET", _BROKERAGE + "transaction_summary"): "transaction_summary",
    ("GET", _BROKERAGE + "market/products"): "products",
    ("GET", _BROKERAGE + "market/product_book"): "product_book",
    ("GET", _BROKERAGE + "products"): "products",
    ("GET", _BROKERAGE + "product_book"): "product_book",
    ("GET", _BROKERAGE + "best_bid_ask"): "best_bid_ask",
    ("GET", _BROKERAGE + "time"): "time",
    ("GET", "/v2/accounts"): "older_accounts",
    ("GET", "/v2/currencies"): "currencies",
    ("GET", "/v2/currencies/crypto"): "crypto_currencies",
    ("GET", "/v2/exchange-rates"): "exchange_rates",
    ("GET", "/v2/time"): "older_time",
}
_BY_ID: tuple[tuple[str, dict[str, str]], ...] = (
    (_BROKERAGE + "orders/historical/", {"": "get_order"}),
    (_BROKERAGE + "accounts/", {"": "get_account"}),
    (_BROKERAGE + "market/products/", {"": "product", "ticker": "ticker", "candles": "candles"}),
    (_BROKERAGE + "products/", {"": "product", "ticker": "ticker", "candles": "candles"}),
)
"""What the path begins with, and what may follow the id."""

_OPEN_TO_ALL = (_BROKERAGE + "market/", _BROKERAGE + "time", "/v2/currencies", "/v2/exchange-rates", "/v2/time")


class CoinbaseDialect:
    """Coinbase as the server sees it."""

    permission_names = frozenset({VIEW, TRADE, TRANSFER})
    default_permissions = frozenset({VIEW, TRADE})
    fee_rates = ChargeRates(taker=Decimal("0.006"), maker=Decimal("0.004"))
    instruments = INSTRUMENTS
    market_modes = frozenset(MarketMode(name) for name in replies.MODES)
    has_largest_market_order = True

    def __init__(self, *, enforces_rate_limits: bool) -> None:
        self._rate_limits = rate_limits.CoinbaseRateCounters() if enforces_rate_limits else None
        self._tokens = tokens.Tokens()

    def identifiers(self, seed: int) -> Identifiers:
        return identifiers(seed)

    def new_key(self) -> tuple[str, str]:
        return tokens.new_key()

    def endpoint(self, request: Request) -> str:
        name, _ = _call(request)
        return name or request.path

    def api_key(self, request: Request) -> str | None:
        return tokens.key_name(request.headers.get("Authorization", ""))

    def places_order(self, endpoint: str) -> bool:
        return endpoint == "create_order"

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        name, argument = _call(request)
        if name is None:
            return replies.error(404, "NOT_FOUND", "no such call")
        try:
            return self._answered(name, argument, request, exchange, execution)
        except replies.TooManyRequests:
            return replies.too_many_requests(name)
        except replies.CoinbaseError as error:
            return replies.error(error.status, error.code, str(error))

    def forget_counts(self) -> None:
        if self._rate_limits is not None:
            self._rate_limits = rate_limits.CoinbaseRateCounters()

    def fault_reply(self, kind: str, endpoint: str) -> Reply:
        if kind == "rate_limit":
            return replies.too_many_requests(endpoint)
        if kind == "invalid_nonce":
            text = "request timestamp expired"
            return Reply(orjson.dumps({"errors": [{"id": "authentication_error", "message": text}]}), 401)
        if kind == "maintenance":
            return replies.error(503, "UNAVAILABLE", "service is down for maintenance")
        return replies.error(500, "INTERNAL", "internal server error")

    def _answered(
        self, name: str, argument: str, request: Request, exchange: Exchange, execution: ExecutionTerms
    ) -> Reply:
        key: ApiKey | None = None
        now = exchange.clock()
        if not request.path.startswith(_OPEN_TO_ALL):
            call = request.method, request.headers.get("Host", ""), request.path
            key = self._tokens.key_of(request.headers.get("Authorization", ""), call, exchange.state.keys, now)
            if key is None or not key.is_usable_from(request.address):
                return replies.UNAUTHORIZED
            if (TRADE if name in replies.TRADING else VIEW) not in key.permissions and name != "key_permissions":
                raise replies.CoinbaseError(403, "PERMISSION_DENIED", "Missing required scopes")
        if self._rate_limits is not None:
            self._rate_limits.count(key, request.address, now)
        market_data = public.MARKET_DATA.get(name)
        if market_data is not None:
            return replies.result(market_data(exchange, arguments_of(request.query), argument))
        if key is None:
            raise AssertionError(f"{name} is open to all but no market data")
        exchange.advance()
        if name == "create_order":
            return replies.result(private.create_order(exchange, key, _body(request), execution))
        if name in private.WRITING:
            return replies.result(private.WRITING[name](exchange, key, _body(request)))
        return replies.result(private.READING[name](exchange, key, arguments_of(request.query), argument))


DIALECT: Final[DialectMaker] = CoinbaseDialect


def _call(request: Request) -> tuple[str | None, str]:
    """The call's name and the id in its path; no name for what is none."""
    path = request.path
    name = _CALLS.get((request.method, path))
    if name is not None or request.method != "GET":
        return name, ""
    for beginning, calls in _BY_ID:
        if path.startswith(beginning):
            argument, _, rest = path[len(beginning) :].partition("/")
            return calls.get(rest), argument
    return None, ""


def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise replies.invalid_argument("the body must be a JSON object")
    return body
