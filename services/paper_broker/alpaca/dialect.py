"""Serves Alpaca's REST APIs from the exchange, with trading and market data on one address.

A trading request passes these checks: known key with its secret, rate limit, arguments, blocked account. Requests with
Alpaca's keys are not signed and carry neither nonce nor time, so they cannot expire.
"""

import base64
import binascii
import secrets
import string
from decimal import Decimal
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qsl, unquote

import orjson

from services.paper_broker.alpaca import market_data, replies, trading
from services.paper_broker.alpaca.account_margin import buying_power
from services.paper_broker.alpaca.identifiers import identifiers
from services.paper_broker.alpaca.instruments import INSTRUMENTS
from services.paper_broker.alpaca.rate_limits import AlpacaRateCounters
from services.paper_broker.alpaca.shapes import TRADE
from services.paper_broker.dialect import DialectMaker, Reply, Request
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms
from shared.exchange.refusals import Refused

PLACE = "POST /v2/orders"
_ORDERS, _ORDER = "/v2/orders", "/v2/orders/"
_ACTIVITIES, _FILLS = "/v2/account/activities", "/v2/account/activities/FILL"
_KEY_CHARACTERS = string.ascii_uppercase + string.digits
_SECRET_CHARACTERS = string.ascii_letters + string.digits
_FAULTS = {
    "rate_limit": replies.AlpacaError(replies.RATE_LIMITED, "rate limit exceeded"),
    "maintenance": replies.AlpacaError(replies.UNAVAILABLE, "service unavailable"),
}
# Also used for an invalid nonce, an error that Alpaca cannot have because it requires no nonce.
_INTERNAL = replies.AlpacaError(replies.INTERNAL, "internal server error occurred")


class AlpacaDialect:
    """Alpaca's API for the paper broker's server."""

    permission_names = frozenset({"read", TRADE})
    default_permissions = frozenset({"read", TRADE})
    fee_rates = ChargeRates(taker=Decimal("0.0025"), maker=Decimal("0.0015"))
    instruments = INSTRUMENTS
    market_modes = frozenset({MarketMode.HALTED})
    has_largest_market_order = True

    def __init__(self, *, enforces_rate_limits: bool) -> None:
        self._rate_limits = AlpacaRateCounters() if enforces_rate_limits else None

    def buying_power(self, exchange: Exchange, account: Account, instrument: PaperInstrument) -> Decimal:
        return buying_power(exchange, account, instrument)

    def identifiers(self, seed: int) -> Identifiers:
        return identifiers(seed)

    def new_key(self) -> tuple[str, str]:
        api_key = "PK" + "".join(secrets.choice(_KEY_CHARACTERS) for _ in range(18))
        return api_key, "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(40))

    def endpoint(self, request: Request) -> str:
        """Method and path, without ids and symbols: `POST /v2/orders`, `GET /v2/orders/{id}`."""
        path = _known_path(request)
        for beginning in trading.READINGS_BY_NAME:
            if path.startswith(beginning):
                return f"{request.method} {beginning}{{id}}"
        return f"{request.method} {path}"

    def api_key(self, request: Request) -> str | None:
        return _key_and_secret(request)[0]

    def places_order(self, endpoint: str) -> bool:
        return endpoint == PLACE

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        try:
            return self._answer(request, exchange, execution)
        except replies.AlpacaError as problem:
            return replies.error(problem)
        except Refused as refusal:
            return replies.error(replies.of_refusal(refusal))
        except replies.TooManyDataRequests:
            return replies.TOO_MANY_DATA_REQUESTS
        except market_data.BadDataRequest as problem:
            return Reply(orjson.dumps({"message": str(problem)}), 400)

    def forget_counts(self) -> None:
        if self._rate_limits is not None:
            self._rate_limits = AlpacaRateCounters()

    def fault_reply(self, kind: str, endpoint: str) -> Reply:  # noqa: ARG002 - all calls fail alike
        return replies.error(_FAULTS.get(kind, _INTERNAL))

    def _answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        path = _known_path(request)
        data_call = market_data.CALLS.get(path)
        if data_call is not None and request.method == "GET" and path.startswith(market_data.CRYPTO):
            # Prices of coins need no key.
            self._count_data(request, exchange)
            return replies.result(data_call(exchange, _parameters(request), stocks=False))
        key = _authenticated(request, exchange)
        if data_call is not None and request.method == "GET":
            self._count_data(request, exchange)
            return replies.result(data_call(exchange, _parameters(request), stocks=True))
        if self._rate_limits is not None:
            self._rate_limits.count(key, exchange.clock())
        exchange.advance()
        if request.method == "GET":
            return _reading(request, path, exchange, key)
        if request.method == "POST" and path == _ORDERS:
            return replies.result(trading.place(exchange, key, request.body, execution))
        if request.method == "DELETE" and path == _ORDERS:
            return Reply(orjson.dumps(trading.cancel_all(exchange, key)), 207)
        if request.method == "DELETE" and path.startswith(_ORDER):
            trading.cancel(exchange, key, path[len(_ORDER) :])
            return replies.NO_CONTENT
        raise _no_route(request)

    def _count_data(self, request: Request, exchange: Exchange) -> None:
        if self._rate_limits is not None:
            key = exchange.state.keys.get(self.api_key(request) or "")
            sender = request.address if key is None else f"account {key.account.name}"
            self._rate_limits.count_data(sender, exchange.clock())


DIALECT: Final[DialectMaker] = AlpacaDialect


def _reading(request: Request, path: str, exchange: Exchange, key: ApiKey) -> Reply:
    reading = trading.READINGS.get(path)
    if reading is not None:
        return replies.result(reading(exchange, key, _parameters(request)))
    for beginning, reading_by_name in trading.READINGS_BY_NAME.items():
        if path.startswith(beginning):
            return replies.result(reading_by_name(exchange, key, unquote(path[len(beginning) :])))
    raise _no_route(request)


def _no_route(request: Request) -> replies.AlpacaError:
    return replies.AlpacaError(replies.NOT_FOUND, f"endpoint not found: {request.method} {request.path}")


def _known_path(request: Request) -> str:
    """The path. A request for all activities of the type FILL gets the path of fills."""
    if request.path == _ACTIVITIES and _parameters(request).get("activity_types", "FILL") == "FILL":
        return _FILLS
    return request.path


def _parameters(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query)) if request.query else {}


def _key_and_secret(request: Request) -> tuple[str | None, str]:
    """Read key and secret from Alpaca's own headers, or from basic authorization."""
    headers = request.headers
    api_key = headers.get("APCA-API-KEY-ID")
    if api_key is not None:
        return api_key, headers.get("APCA-API-SECRET-KEY", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return None, ""
    try:
        api_key, _, api_secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None, ""
    return api_key, api_secret


def _authenticated(request: Request, exchange: Exchange) -> ApiKey:
    api_key, api_secret = _key_and_secret(request)
    key = exchange.state.keys.get(api_key or "")
    if key is None or not compare_digest(key.api_secret.encode(), api_secret.encode()):
        raise replies.not_authorized()
    if not key.is_usable_from(request.address):
        raise replies.forbidden()
    return key
