"""Reads the arguments of a query string and checks them: lists, whole numbers and moments.

Lists may be repeated (`order_ids=a&order_ids=b`), and some of them have an older name for one entry.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from services.paper_broker.coinbase import replies

Arguments = dict[str, list[str]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def arguments_of(query: str) -> Arguments:
    found: Arguments = {}
    for name, value in parse_qsl(query):
        found.setdefault(name, []).append(value)
    return found


def listed(arguments: Arguments, *names: str) -> frozenset[str]:
    """All values under these names."""
    return frozenset(value for name in names for value in arguments.get(name, ()))


def text(arguments: Arguments, name: str, default: str = "") -> str:
    return arguments.get(name, [default])[-1]


def whole_number(arguments: Arguments, name: str, default: int, most: int) -> int:
    """A number from 0 to `most`; a larger one counts as `most`. Raises CoinbaseError."""
    value = text(arguments, name) or str(default)
    if not (value.isascii() and value.isdecimal()):
        raise replies.invalid_argument(f"{name} must be a whole number")
    return min(int(value), most)


def moment(arguments: Arguments, name: str) -> int | None:
    """Microseconds since 1970 of an RFC 3339 text; None when it is not given. Raises CoinbaseError."""
    value = text(arguments, name)
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise replies.invalid_argument(f"{name} must be an RFC 3339 timestamp") from None
    if found.tzinfo is None:
        raise replies.invalid_argument(f"{name} must have a time zone")
    return (found - _EPOCH) // timedelta(microseconds=1)
