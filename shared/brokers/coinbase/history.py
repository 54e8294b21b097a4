"""Reads Coinbase's lists to the end: all entries of all pages of an endpoint."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from shared.brokers.errors import OutcomeUnknown

_Endpoint = Callable[[dict[str, Any]], Awaitable[Any]]
# A list with more pages than this probably repeats itself.
MOST_PAGES = 1_000


class _Request(Protocol):
    """Sends one signed request and reads its reply."""

    async def __call__(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], Any]) -> Any: ...


async def whole_list(
    request: _Request, endpoint: _Endpoint, parameters: dict[str, Any], listed_as: str
) -> list[dict[str, Any]]:
    """The entries of all pages, in the broker's order. `listed_as`: the field that holds them.

    Lists of fills have only a cursor. Other lists also have `has_next`. A page is the last one when either field says
    so, or when it has no entry. Raises OutcomeUnknown for a list that does not end.
    """

    def read(reply: Any) -> tuple[list[dict[str, Any]], str]:
        page = reply[listed_as] or []
        for entry in page:
            if not isinstance(entry, dict):
                raise TypeError(f"an entry of {listed_as} is a {type(entry).__name__}")
        following = str(reply.get("cursor") or "")
        if page and reply.get("has_next") is True and not following:
            raise ValueError(f"there are more {listed_as}, but the reply has no cursor for them")
        goes_on = page and reply.get("has_next", True)
        return list(page), following if goes_on else ""

    entries: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(MOST_PAGES):
        asked = {**parameters, "cursor": cursor} if cursor else dict(parameters)
        page, following = await request(endpoint, asked, read)
        entries += page
        if not following or following == cursor:
            return entries
        cursor = following
    raise OutcomeUnknown(f"Coinbase's list of {listed_as} does not end")
