"""Serves Kraken's REST API over the simulated exchange.

A private request passes, in Kraken's order: known key, right signature, growing nonce, permission, arguments.
"""

import base64
import secrets
import string
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qsl

import orjson

from services.paper_broker.dialect import DialectMaker, Reply, Request
from services.paper_broker.kraken import private, public, replies
from services.paper_broker.kraken.identifiers import identifiers
from services.paper_broker.kraken.rate_limits import KrakenRateCounters
from services.paper_broker.kraken.signature import is_signed
from shared.exchange.accounts import ApiKey
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.instruments import INSTRUMENTS
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms
from shared.exchange.refusals import Refused

_PUBLIC = "/0/public/"
_PRIVATE = "/0/private/"
_KEY_CHARACTERS = string.ascii_letters + string.digits + "+/"
_MOST_NONCE = (1 << 64) - 1

PERMISSION_NAMES = frozenset(
    {
        "query-funds",
        "deposit-funds",
        "withdraw-funds",
        "add-withdraw-address",
        "update-withdraw-address",
        "earn-funds",
        "query-open-trades",
        "query-closed-trades",
        "modify-trades",
        "close-trades",
        "query-ledger",
        "export-data",
        "create-ws-token",
    }
)
_DEFAULT_PERMISSIONS = frozenset(
    {"query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades", "query-ledger"}
)
_NEEDED: dict[str, frozenset[str]] = {
    "AddOrder": frozenset({"modify-trades"}),
    "Balance": frozenset({"query-funds"}),
    "BalanceEx": frozenset({"query-funds"}),
    "CancelAll": frozenset({"close-trades"}),
    "CancelOrder": frozenset({"close-trades"}),
    "ClosedOrders": frozenset({"query-closed-trades"}),
    "GetApiKeyInfo": frozenset(),
    "Ledgers": frozenset({"query-ledger"}),
    "OpenOrders": frozenset({"query-open-trades"}),
    "QueryOrders": frozenset({"query-open-trades", "query-closed-trades"}),
    "QueryTrades": frozenset({"query-open-trades", "query-closed-trades"}),
    "TradesHistory": frozenset({"query-open-trades", "query-closed-trades"}),
}
"""Any one of the set is enough; the empty set needs none."""


class KrakenDialect:
    """Kraken as the server sees it."""

    permission_names = PERMISSION_NAMES
    default_permissions = _DEFAULT_PERMISSIONS
    fee_rates = ChargeRates(taker=Decimal("0.0026"), maker=Decimal("0.0016"))
    instruments = INSTRUMENTS
    market_modes = frozenset(MarketMode(name) for name in replies.MODES)
    has_largest_market_order = False

    def __init__(self, *, enforces_rate_limits: bool) -> None:
        self._rate_limits = KrakenRateCounters() if enforces_rate_limits else None

    def identifiers(self, seed: int) -> Identifiers:
        return identifiers(seed)

    def new_key(self) -> tuple[str, str]:
        api_key = "".join(secrets.choice(_KEY_CHARACTERS) for _ in range(56))
        return api_key, base64.b64encode(secrets.token_bytes(64)).decode()

    def endpoint(self, request: Request) -> str:
        return request.path.rpartition("/")[2]

    def api_key(self, request: Request) -> str | None:
        return request.headers.get("API-Key")

    def places_order(self, endpoint: str) -> bool:
        return endpoint == "AddOrder"

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        try:
            if request.path.startswith(_PRIVATE):
                return self._private(request, exchange, execution)
            if request.path.startswith(_PUBLIC):
                return self._public(request, exchange)
        except replies.KrakenError as error:
            return replies.error(str(error))
        except Refused as refusal:
            return replies.error(replies.refusal_text(refusal))
        return replies.error(replies.UNKNOWN_METHOD)

    def forget_counts(self) -> None:
        if self._rate_limits is not None:
            self._rate_limits = KrakenRateCounters()

    def fault_reply(self, kind: str, endpoint: str) -> Reply:
        if kind == "rate_limit":
            return replies.error(replies.ORDER_RATE_LIMIT if endpoint == "AddOrder" else replies.API_RATE_LIMIT)
        if kind == "invalid_nonce":
            return replies.error(replies.INVALID_NONCE)
        if kind == "maintenance":
            if endpoint == "SystemStatus":
                return replies.result({"status": "maintenance"})
            return replies.error(replies.UNAVAILABLE)
        return replies.error(replies.INTERNAL_ERROR)

    def _public(self, request: Request, exchange: Exchange) -> Reply:
        call = public.CALLS.get(request.path[len(_PUBLIC) :])
        if call is None:
            return replies.error(replies.UNKNOWN_METHOD)
        if self._rate_limits is not None:
            self._rate_limits.count_public(request.address, exchange.clock())
        parameters = dict(parse_qsl(request.query))
        if request.method == "POST" and request.body:
            parameters.update(_fields(request))
        return replies.result(call(exchange, parameters))

    def _private(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        name = request.path[len(_PRIVATE) :]
        needed = _NEEDED.get(name)
        if needed is None or request.method != "POST":
            return replies.error(replies.UNKNOWN_METHOD)
        fields = _fields(request)
        key = _authenticated(request, fields, exchange)
        if needed and not needed & key.permissions:
            return replies.error(replies.PERMISSION_DENIED)
        if self._rate_limits is not None:
            self._rate_limits.count_call(name, key, exchange.clock())
        exchange.advance()
        if name == "AddOrder":
            return replies.result(private.add_order(exchange, key, fields, execution, self._rate_limits))
        if name == "CancelOrder":
            return replies.result(private.cancel_order(exchange, key, fields, self._rate_limits))
        return replies.result(private.CALLS[name](exchange, key, fields))


DIALECT: Final[DialectMaker] = KrakenDialect


def _fields(request: Request) -> Mapping[str, str]:
    """The body's fields as text, from a form or from JSON."""
    try:
        if request.headers.get("Content-Type", "").startswith("application/json"):
            document = orjson.loads(request.body or b"{}")
            if not isinstance(document, dict):
                raise replies.invalid_arguments()
            return {name: value if isinstance(value, str) else str(value) for name, value in document.items()}
        text = request.body.decode()
        if "%" not in text and "+" not in text:
            # Nothing to unquote, which is the common case; parse_qsl would take as long as all the rest.
            return dict(pair.split("=", 1) for pair in text.split("&") if "=" in pair)
        return dict(parse_qsl(text))
    except ValueError as error:
        raise replies.invalid_arguments() from error


def _authenticated(request: Request, fields: Mapping[str, str], exchange: Exchange) -> ApiKey:
    key = exchange.state.keys.get(request.headers.get("API-Key", ""))
    # Kraken gives a key that is used from another address the answer for an unknown one.
    if key is None or not key.is_usable_from(request.address):
        raise replies.KrakenError(replies.INVALID_KEY)
    nonce = fields.get("nonce", "")
    signature = request.headers.get("API-Sign", "")
    if not is_signed(signature, key.secret_bytes, request.path, nonce, request.body):
        raise replies.KrakenError(replies.INVALID_SIGNATURE)
    if not (nonce.isascii() and nonce.isdecimal() and key.last_nonce < int(nonce) <= _MOST_NONCE):
        raise replies.KrakenError(replies.INVALID_NONCE)
    exchange.state.accept_nonce(key, int(nonce))
    return key
