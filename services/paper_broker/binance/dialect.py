"""Serves Binance's spot REST API over the simulated exchange.

A signed request passes, in this order: known key, right signature, timestamp inside its window, permission,
arguments. The window is checked again when the order reaches the exchange.
"""

import secrets
import string
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qsl

from services.paper_broker.binance import private, public, replies
from services.paper_broker.binance.identifiers import identifiers
from services.paper_broker.binance.rate_limits import WEIGHT_A_MINUTE, BinanceRateCounters
from services.paper_broker.binance.signature import is_signed, split
from services.paper_broker.binance.wire_names import INSTRUMENTS
from services.paper_broker.dialect import DialectMaker, Reply, Request
from shared.exchange.accounts import ApiKey
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms
from shared.exchange.refusals import Refused

_SPOT = "/api/v3/"
_KEY_CHARACTERS = string.ascii_letters + string.digits
_KEY_LENGTH = 64
_MICROSECONDS = 1_000
_DEFAULT_WINDOW = 5_000
_LONGEST_WINDOW = 60_000
_AHEAD_MICROSECONDS = 1_000_000
# From here on a timestamp is in microseconds.
_LEAST_IN_MICROSECONDS = 100_000_000_000_000
_PLACES_ORDER = "POST order"


class BinanceDialect:
    """Binance as the server sees it."""

    permission_names = private.RESTRICTION_NAMES
    default_permissions = private.READING | private.TRADING
    fee_rates = ChargeRates(taker=Decimal("0.001"), maker=Decimal("0.001"))
    instruments = INSTRUMENTS
    market_modes = frozenset(MarketMode(name) for name in replies.MODES)
    has_largest_market_order = True

    def __init__(self, *, enforces_rate_limits: bool) -> None:
        self._rate_limits = BinanceRateCounters() if enforces_rate_limits else None

    def identifiers(self, seed: int) -> Identifiers:
        return identifiers(seed)

    def new_key(self) -> tuple[str, str]:
        api_key, api_secret = ("".join(secrets.choice(_KEY_CHARACTERS) for _ in range(_KEY_LENGTH)) for _ in range(2))
        return api_key, api_secret

    def endpoint(self, request: Request) -> str:
        """`POST order`, `GET account`, `GET account/apiRestrictions`; public calls without their method."""
        path = request.path.removeprefix(_SPOT).removeprefix("/sapi/v1/")
        return path if path in public.CALLS else f"{request.method} {path}"

    def api_key(self, request: Request) -> str | None:
        return request.headers.get("X-MBX-APIKEY")

    def places_order(self, endpoint: str) -> bool:
        return endpoint == _PLACES_ORDER

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        reply = self._answered(request, exchange, execution)
        if self._rate_limits is None:
            return reply
        used = str(self._rate_limits.used_weight(request.address))
        return replace(reply, headers={**reply.headers, "X-MBX-USED-WEIGHT-1M": used})

    def forget_counts(self) -> None:
        if self._rate_limits is not None:
            self._rate_limits = BinanceRateCounters()

    def _answered(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        try:
            signed = private.CALLS.get(f"{request.method} {request.path}")
            if signed is not None:
                needed, serve = signed
                call = self._checked(request, exchange, execution, needed)
                exchange.advance()
                try:
                    return replies.result(serve(call))
                except (replies.BinanceError, Refused):
                    self._count_failure(request, exchange)
                    raise
            if request.method == "GET" and request.path.startswith(_SPOT):
                public_call = public.CALLS.get(request.path[len(_SPOT) :])
                if public_call is not None:
                    parameters = _parameters(request.query)
                    self._count(request, parameters, exchange)
                    return replies.result(public_call(exchange, parameters))
        except replies.BinanceError as error:
            return replies.error(error)
        except Refused as refusal:
            return replies.error(replies.of_refusal(refusal))
        return Reply(b"<html><body><h2>404 Not found</h2></body></html>", replies.NOT_FOUND, "text/html")

    def fault_reply(self, kind: str, endpoint: str) -> Reply:
        del endpoint
        if kind == "rate_limit":
            return replies.error(replies.too_much_weight(WEIGHT_A_MINUTE, 1))
        if kind == "invalid_nonce":
            return replies.error(replies.outside_window())
        if kind == "maintenance":
            return replies.error(replies.BinanceError(1, "System is under maintenance.", replies.UNAVAILABLE))
        text = "An unknown error occurred while processing the request."
        return replies.error(replies.BinanceError(-1000, text, replies.INTERNAL_ERROR))

    def _checked(
        self, request: Request, exchange: Exchange, execution: ExecutionTerms, needed: frozenset[str]
    ) -> private.SignedCall:
        key = _key(request, exchange)
        query, query_signature = split(request.query)
        body, body_signature = split(_text(request.body))
        parameters = _parameters(query) | _parameters(body)
        if "timestamp" not in parameters:
            raise replies.missing("timestamp")
        signature = body_signature or query_signature
        if not signature:
            raise replies.missing("signature")
        # HMAC-SHA256 over both, in this order and with nothing between them.
        if not is_signed(signature, key.api_secret.encode(), query + body):
            raise replies.signature_wrong()
        deadline_at = _deadline(parameters, exchange.clock())
        if not needed <= key.permissions:
            raise replies.key_refused()
        self._count(request, parameters, exchange)
        return private.SignedCall(exchange, key, parameters, deadline_at, execution, self._rate_limits)

    def _count(self, request: Request, parameters: Mapping[str, str], exchange: Exchange) -> None:
        if self._rate_limits is not None:
            self._rate_limits.count_call(self.endpoint(request), parameters, request.address, exchange.clock())

    def _count_failure(self, request: Request, exchange: Exchange) -> None:
        if self._rate_limits is not None:
            self._rate_limits.count_failure(self.endpoint(request), request.address, exchange.clock())


DIALECT: Final[DialectMaker] = BinanceDialect


def _key(request: Request, exchange: Exchange) -> ApiKey:
    text = request.headers.get("X-MBX-APIKEY", "")
    key = exchange.state.keys.get(text)
    if key is not None and key.is_usable_from(request.address):
        return key
    is_well_formed = len(text) == _KEY_LENGTH and text.isascii() and text.isalnum()
    raise replies.key_refused() if is_well_formed else replies.key_malformed()


def _deadline(parameters: Mapping[str, str], now: int) -> int:
    """When the request's window ends, in microseconds; BinanceError when `now` is not inside it."""
    timestamp = _whole(parameters, "timestamp", "0")
    window_milliseconds = _whole(parameters, "recvWindow", str(_DEFAULT_WINDOW))
    if window_milliseconds > _LONGEST_WINDOW:
        raise replies.BinanceError(-1131, "recvWindow must be less than 60000.")
    sent_at = timestamp if timestamp >= _LEAST_IN_MICROSECONDS else timestamp * _MICROSECONDS
    if sent_at >= now + _AHEAD_MICROSECONDS:
        raise replies.ahead_of_server()
    deadline_at = sent_at + window_milliseconds * _MICROSECONDS
    if now > deadline_at:
        raise replies.outside_window()
    return deadline_at


def _whole(parameters: Mapping[str, str], name: str, default: str) -> int:
    text = parameters.get(name, default)
    if not (text.isascii() and text.isdecimal()):
        raise replies.illegal(name, "^[0-9]{1,20}$")
    return int(text)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise replies.BinanceError(-1100, "Illegal characters found in a parameter.") from error


def _parameters(text: str) -> dict[str, str]:
    if "%" not in text and "+" not in text:
        # Nothing to unquote, which is the common case; parse_qsl would take as long as all the rest.
        return dict(pair.split("=", 1) for pair in text.split("&") if "=" in pair)
    return dict(parse_qsl(text, keep_blank_values=True))
