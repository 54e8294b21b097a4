"""Serves OKX's REST API over the simulated exchange.

A private request passes, in this order: known key, fresh timestamp, passphrase, right signature, permission,
arguments.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import uuid4

import orjson

from services.paper_broker.dialect import DialectMaker, Reply, Request
from services.paper_broker.okx import private, public, replies, trading
from services.paper_broker.okx.identifiers import identifiers
from services.paper_broker.okx.order_request import expiry
from services.paper_broker.okx.rate_limits import OkxRateCounters
from services.paper_broker.okx.signature import is_signed
from services.paper_broker.okx.wire_names import INSTRUMENTS_BY_SYMBOL
from shared.exchange.accounts import ApiKey
from shared.exchange.charges import ChargeRates
from shared.exchange.exchange import Exchange, Identifiers
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExecutionTerms

_PREFIX = "/api/v5/"
_PLACING = frozenset({"trade/order", "trade/batch-orders"})
_CANCELING = frozenset({"trade/cancel-order", "trade/cancel-batch-orders"})
_CLOCK_SLACK_SECONDS = 30

PERMISSION_NAMES = frozenset({"read_only", "trade", "withdraw"})


class OkxDialect:
    """OKX as the server sees it."""

    permission_names = PERMISSION_NAMES
    default_permissions = frozenset({"read_only", "trade"})
    fee_rates = ChargeRates(taker=Decimal("0.0015"), maker=Decimal("0.0010"))
    instruments = INSTRUMENTS_BY_SYMBOL
    market_modes = frozenset(MarketMode(name) for name in replies.MODES)
    has_largest_market_order = True

    def __init__(self, *, enforces_rate_limits: bool) -> None:
        self._rate_limits = OkxRateCounters() if enforces_rate_limits else None
        self._passphrases: dict[str, str] = {}

    def identifiers(self, seed: int) -> Identifiers:
        return identifiers(seed)

    def new_key(self) -> tuple[str, str]:
        return str(uuid4()), secrets.token_hex(16).upper()

    def passphrase(self, api_secret: str) -> str:
        """Follows from the secret, so that it need not be kept."""
        known = self._passphrases.get(api_secret)
        if known is None:
            digest = hashlib.blake2b(api_secret.encode(), person=b"passphrase", digest_size=12).digest()
            known = self._passphrases[api_secret] = base64.urlsafe_b64encode(digest).decode()
        return known

    def endpoint(self, request: Request) -> str:
        """`trade/order` is two calls, so the reading one is called `GET trade/order`."""
        path = request.path.removeprefix(_PREFIX)
        return f"GET {path}" if path == "trade/order" and request.method == "GET" else path

    def api_key(self, request: Request) -> str | None:
        return request.headers.get("OK-ACCESS-KEY")

    def places_order(self, endpoint: str) -> bool:
        return endpoint in _PLACING

    def answer(self, request: Request, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        path = request.path.removeprefix(_PREFIX)
        try:
            if path in public.CALLS:
                if request.method != "GET":
                    raise replies.OkxError(replies.WRONG_METHOD)
                parameters, limits = _parameters(request), self._rate_limits
                if limits is not None:
                    limits.count_public(request.address, path, parameters.get("instType", ""), exchange.clock())
                return replies.result(public.CALLS[path](exchange, parameters))
            if path in private.CALLS or path in _PLACING or path in _CANCELING:
                return self._private(request, path, exchange, execution)
        except replies.OkxError as error:
            return replies.error(error.problem)
        return replies.error(replies.UNKNOWN_PATH)

    def forget_counts(self) -> None:
        if self._rate_limits is not None:
            self._rate_limits = OkxRateCounters()

    def fault_reply(self, kind: str, endpoint: str) -> Reply:
        del endpoint
        return replies.error(
            {
                "rate_limit": replies.RATE_LIMIT,
                "invalid_nonce": replies.EXPIRED_TIMESTAMP,
                "maintenance": replies.MAINTENANCE,
            }.get(kind, replies.INTERNAL_ERROR)
        )

    def _private(self, request: Request, path: str, exchange: Exchange, execution: ExecutionTerms) -> Reply:
        key = self._authenticated(request, exchange)
        if request.method == "GET":
            if path not in private.CALLS:
                raise replies.OkxError(replies.WRONG_METHOD)
            if "read_only" not in key.permissions:
                raise replies.OkxError(replies.NO_PERMISSION)
            parameters = _parameters(request)
            if self._rate_limits is not None:
                self._rate_limits.count_read(key, path, parameters.get("instId", ""), exchange.clock())
            exchange.advance()
            return replies.result(private.CALLS[path](exchange, key, parameters))
        if request.method != "POST" or not (path in _PLACING or path in _CANCELING):
            raise replies.OkxError(replies.WRONG_METHOD)
        if "trade" not in key.permissions:
            raise replies.OkxError(replies.NO_PERMISSION)
        entries = _entries(request, is_batch="batch" in path)
        if self._rate_limits is not None:
            count = self._rate_limits.count_cancels if path in _CANCELING else self._rate_limits.count_orders
            count(key, [str(entry.get("instId")) for entry in entries], exchange.clock())
        exchange.advance()
        if path in _CANCELING:
            return replies.results([trading.cancel(exchange, key, entry) for entry in entries])
        expires_at = expiry(request.headers.get("expTime"))
        return replies.results([trading.place(exchange, key, entry, expires_at, execution) for entry in entries])

    def _authenticated(self, request: Request, exchange: Exchange) -> ApiKey:
        headers = request.headers
        for name, problem in (
            ("OK-ACCESS-KEY", replies.NO_KEY),
            ("OK-ACCESS-SIGN", replies.NO_SIGNATURE),
            ("OK-ACCESS-TIMESTAMP", replies.NO_TIMESTAMP),
            ("OK-ACCESS-PASSPHRASE", replies.NO_PASSPHRASE),
        ):
            if not headers.get(name):
                raise replies.OkxError(problem)
        key = exchange.state.keys.get(headers["OK-ACCESS-KEY"])
        if key is None:
            raise replies.OkxError(replies.UNKNOWN_KEY)
        if not key.is_usable_from(request.address):
            raise replies.wrong_address(request.address)
        timestamp = headers["OK-ACCESS-TIMESTAMP"]
        _check_fresh(timestamp, exchange.clock())
        expected = self.passphrase(key.api_secret)
        if not hmac.compare_digest(headers["OK-ACCESS-PASSPHRASE"].encode(), expected.encode()):
            raise replies.OkxError(replies.WRONG_PASSPHRASE)
        path = f"{request.path}?{request.query}" if request.query else request.path
        secret = key.api_secret.encode()
        if not is_signed(headers["OK-ACCESS-SIGN"], secret, timestamp, request.method, path, request.body):
            raise replies.OkxError(replies.WRONG_SIGNATURE)
        return key


DIALECT: Final[DialectMaker] = OkxDialect


def _check_fresh(timestamp: str, now: int) -> None:
    """Refuse a timestamp that is no time, or half a minute off; `now` in microseconds since 1970."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise replies.OkxError(replies.WRONG_TIMESTAMP) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if abs(moment.timestamp() - now / 1_000_000) > _CLOCK_SLACK_SECONDS:
        raise replies.OkxError(replies.EXPIRED_TIMESTAMP)


def _parameters(request: Request) -> Mapping[str, str]:
    query = request.query
    if not query:
        return {}
    if "%" not in query and "+" not in query:
        # Nothing to unquote, which is the common case.
        return dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
    return dict(parse_qsl(query))


def _entries(request: Request, *, is_batch: bool) -> list[dict[str, Any]]:
    """The orders that a body names: one object, or up to twenty in a list."""
    if not request.body:
        raise replies.OkxError(replies.EMPTY_BODY)
    try:
        document = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise replies.OkxError(replies.BAD_JSON) from None
    entries = document if isinstance(document, list) else [document]
    if isinstance(document, list) is not is_batch or not all(isinstance(entry, dict) for entry in entries):
        raise replies.OkxError(replies.BAD_JSON)
    if not 0 < len(entries) <= trading.MOST_ORDERS:
        raise replies.OkxError(replies.TOO_MANY_ORDERS if entries else replies.EMPTY_BODY)
    return entries
