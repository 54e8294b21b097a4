"""Reads all pages of an account's fills at OKX since a moment, and returns them oldest first."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.okx import replies

PAGE = 100

_Ask = Callable[[dict[str, str]], Awaitable[list[Any]]]


async def fills_since(ask: _Ask, since: datetime, filters: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Every page of fills-history, which is newest first. `ask`: sends one request and returns its checked entries.

    Fills that arrive meanwhile are newer than the first page and come at the next poll. A page that is not full
    may still not be the last one elsewhere than at OKX, so only a page that brings nothing new is the end.
    """
    found: dict[str, Mapping[str, Any]] = {}
    # Whether `begin` itself is included is not documented.
    parameters = {"instType": "SPOT", **filters, "begin": str(replies.milliseconds(since) - 1), "limit": str(PAGE)}
    while True:
        page = await ask(parameters)
        fresh = {replies.fill_id(entry): entry for entry in page}
        if fresh.keys() <= found.keys():
            break
        found |= fresh
        oldest = page[-1].get("billId")
        if not oldest:
            if len(page) >= PAGE:
                raise OutcomeUnknown("OKX's fills have no billId, so the next page cannot be read")
            break
        parameters = {**parameters, "after": str(oldest)}
    within = [(replies.executed_at(entry), name, entry) for name, entry in found.items()]
    ordered = sorted((each for each in within if each[0] >= since), key=lambda each: (each[0], len(each[1]), each[1]))
    return [entry for _, _, entry in ordered]
