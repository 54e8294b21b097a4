"""Reads Kraken's lists to the end: all entries of all pages of an endpoint, by id."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from shared.brokers.errors import NotVisibleYet

# QueryOrders accepts this many ids.
ORDERS_PER_QUERY = 20
# Lists that arrive as one page.
UNPAGED = frozenset({"open"})

_Endpoint = Callable[[dict[str, Any]], Awaitable[Any]]


class _Request(Protocol):
    """Sends one signed request and reads its result."""

    async def __call__(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], Any]) -> Any: ...


async def whole_history(
    request: _Request,
    endpoint: _Endpoint,
    parameters: dict[str, Any],
    listed_as: str,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Every page of a list that is newest first. `listed_as`: the field that holds the entries.

    `known`: entries of this list from an earlier reading that never change. They need not be read again: the broker's
    count shows when the list is complete.

    Entries that arrive during the reading push others onto the next page. So some entries come twice, and none is
    missed. The new ones are then read from the head of the list. Otherwise an account that trades all the time could
    never be read. Raises NotVisibleYet when the pages hold fewer entries than the broker counts.
    """

    def read(result: Any) -> tuple[dict[str, Any], int | None]:
        page = result.get(listed_as) or {}
        for entry in page.values():
            if not isinstance(entry, dict):
                raise TypeError(f"an entry of {listed_as} is a {type(entry).__name__}")
        count = result.get("count")
        return dict(page), None if count is None else int(count)

    entries = dict(known)
    read_now: set[str] = set()
    offset = 0
    read_before: frozenset[str] = frozenset()
    while True:
        page, count = await request(endpoint, {**parameters, "ofs": offset} if offset else dict(parameters), read)
        new = page.keys() - entries.keys()
        repeated = page.keys() <= read_now
        entries.update(page)
        read_now.update(page)
        offset += len(page)
        # Without a count, only a page that this reading has seen already shows the end.
        if not page or listed_as in UNPAGED or (len(entries) >= count if count is not None else repeated):
            return entries
        if count is None or (offset < count and page.keys().isdisjoint(read_before)):
            continue
        if read_before and not new:
            raise NotVisibleYet(f"Kraken counts {count} entries of {listed_as} but its pages hold {len(entries)}")
        offset, read_before = 0, frozenset(entries)


async def order_query(request: _Request, endpoint: _Endpoint, order_ids: list[str]) -> dict[str, Any]:
    """The orders of these ids, except those that the broker does not return."""

    def read(result: Any) -> dict[str, Any]:
        for entry in result.values():
            if not isinstance(entry, dict):
                raise TypeError(f"an order is a {type(entry).__name__}")
        return dict(result)

    orders: dict[str, Any] = {}
    for start in range(0, len(order_ids), ORDERS_PER_QUERY):
        chunk = order_ids[start : start + ORDERS_PER_QUERY]
        orders.update(await request(endpoint, {"txid": ",".join(chunk)}, read))
    return orders
