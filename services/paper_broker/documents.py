"""Reads the requests of the paper broker's own API, and writes its replies."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import orjson

from services.paper_broker.dialect import Reply, Request
from shared.domain.amounts import parse_amount
from shared.domain.errors import NijaError

_PAGE = 1_000
_MOST_PAGE = 10_000


class BadRequest(NijaError):
    """The request cannot be understood; the text says what would be right."""


class NotThere(NijaError):
    """What the path names does not exist."""


class Conflict(NijaError):
    """What should be created exists already."""


def no_route(request: Request) -> NotThere:
    """The error for a path that is not served."""
    return NotThere(f"{request.method} {request.path} is not part of the paper broker's API")


def amounts(balances: Any) -> dict[str, Decimal]:
    """Amounts by currency."""
    if not isinstance(balances, dict):
        raise BadRequest('balances must be an object such as {"USD": "10000", "BTC": "0.5"}')
    return {currency: parse_amount(text) for currency, text in balances.items()}


def page(request: Request) -> tuple[int, int]:
    """The sequence number after which a page of a log begins, and its length."""
    parameters = dict(parse_qsl(request.query))
    try:
        since, limit = int(parameters.get("since_sequence", "0")), int(parameters.get("limit", str(_PAGE)))
    except ValueError:
        raise BadRequest("since_sequence and limit must be whole numbers") from None
    if since < 0 or not 1 <= limit <= _MOST_PAGE:
        raise BadRequest(f"since_sequence must be 0 or more, limit from 1 to {_MOST_PAGE}")
    return since, limit


def loaded(request: Request) -> Any:
    """The body's JSON. Raises BadRequest."""
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def document(request: Request) -> dict[str, Any]:
    """The body's JSON object. Raises BadRequest."""
    content = loaded(request)
    if not isinstance(content, dict):
        raise BadRequest("the body must be a JSON object")
    return content


def answered(content: Any, status: int = 200) -> Reply:
    """The reply with this JSON."""
    return Reply(orjson.dumps(content), status)


def names(fields: Mapping[str, Any], name: str) -> frozenset[str] | None:
    """A list of texts as a set; None when the field is not there. Raises BadRequest."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRequest(f"{name} must be a list of names")
    return frozenset(value)
