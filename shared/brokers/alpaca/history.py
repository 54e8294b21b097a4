"""Reads Alpaca's lists of fills and orders to the end, page by page, with the request function that it is given."""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.brokers.alpaca.replies import moment
from shared.brokers.errors import OutcomeUnknown

ACTIVITIES_PER_PAGE = 100
ORDERS_PER_PAGE = 500
_SMALLEST = timedelta(microseconds=1)

ReadList = Callable[[str, dict[str, str]], Awaitable[list[dict[str, Any]]]]
"""Takes path and parameters; returns the entries of one page."""


def entries(reply: Any) -> list[dict[str, Any]]:
    """The entries of a page, each with an id. Raises TypeError when the reply is anything else."""
    if not isinstance(reply, list) or not all(isinstance(e, dict) and isinstance(e.get("id"), str) for e in reply):
        raise TypeError("the reply is not a list of objects with ids")
    return reply


async def all_fills(read_list: ReadList, since: datetime) -> list[dict[str, Any]]:
    """Every activity of type FILL after `since`, oldest first.

    Each page starts after the last id of the page before. Only a page without new entries is the end, because servers
    may return fewer entries than were requested.
    """
    found: dict[str, dict[str, Any]] = {}
    parameters = {"after": time_text(since), "direction": "asc", "page_size": str(ACTIVITIES_PER_PAGE)}
    while True:
        page = await read_list("/account/activities/FILL", dict(parameters))
        brought_new = any(entry["id"] not in found for entry in page)
        found.update({entry["id"]: entry for entry in page})
        if not brought_new:
            return [entry for entry in found.values() if entry.get("activity_type", "FILL") == "FILL"]
        parameters["page_token"] = page[-1]["id"]


async def orders_since(
    read_list: ReadList, since: datetime, most_pages: int, *, status: str = "all"
) -> list[dict[str, Any]]:
    """Orders submitted after `since`, oldest first, up to `most_pages` pages. `status`: all, open or closed."""
    found: dict[str, dict[str, Any]] = {}
    after = since
    for _ in range(most_pages):
        parameters = {"status": status, "direction": "asc", "limit": str(ORDERS_PER_PAGE), "after": time_text(after)}
        page = await read_list("/orders", parameters)
        brought_new = any(entry["id"] not in found for entry in page)
        found.update({entry["id"]: entry for entry in page})
        if not brought_new:
            break
        try:
            # `after` is exclusive, and several orders may have been submitted at the same time.
            after = max(moment(entry.get("submitted_at") or entry.get("created_at")) for entry in page) - _SMALLEST
        except (TypeError, ValueError) as error:
            raise OutcomeUnknown(f"Alpaca does not report when an order was submitted: {error!r}") from error
    return list(found.values())


async def orders_of_fills(
    read_list: ReadList,
    read_order: Callable[[str], Awaitable[dict[str, Any] | None]],
    fills: Collection[dict[str, Any]],
    known: Collection[str],
    list_from: int,
) -> dict[str, dict[str, Any]]:
    """The orders of `fills` that are not `known`, by id, if Alpaca still has them.

    From `list_from` missing orders on, a list is requested first. It costs one request instead of one per order.
    """
    missing = dict.fromkeys(fill["order_id"] for fill in fills if fill["order_id"] not in known)
    found: dict[str, dict[str, Any]] = {}
    if len(missing) >= list_from:
        first_at = min(moment(fill["transaction_time"]) for fill in fills if fill["order_id"] in missing)
        # Most orders are market orders, which are executed immediately.
        listed = await orders_since(read_list, first_at - timedelta(minutes=5), most_pages=2)
        found = {order["id"]: order for order in listed if order["id"] in missing}
    for order_id in missing:
        if order_id not in found:
            order = await read_order(order_id)
            if order is not None:
                found[order_id] = order
    return found


def time_text(when: datetime) -> str:
    """RFC 3339 with microseconds, in UTC."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
