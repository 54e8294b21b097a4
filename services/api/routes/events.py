"""Streams what is committed to the ledger, as server-sent events."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.api.auth import Presented, Reader
from services.api.follow import Stream, follow
from services.api.problems import AWAY, PROBLEMS, RequestRefused
from services.api.system import ApiSystem, System
from shared.queries.events import POSITION_FORM, FeedPosition, read_position
from shared.queries.tokens import authenticate

router = APIRouter(prefix="/api/events", tags=["events"])


def position_of(
    system: System,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=f"^(?:{POSITION_FORM})$",
            description="The id of the last event that was received. The stream goes on behind it.",
        ),
    ] = None,
) -> FeedPosition:
    """Where the stream begins: behind the last event that the client has, or now."""
    return FeedPosition.parse(last_event_id) if last_event_id else read_position(system.connections)


def place_of(system: System) -> Iterator[None]:
    """One of the places for streams, until the stream ends. Raises RequestRefused when all are taken."""
    if not system.streams.acquire(blocking=False):
        raise RequestRefused(AWAY, "too many event streams are open; close one, or ask again")
    try:
        yield
    finally:
        system.streams.release()


def _is_allowed(system: ApiSystem, presented: str) -> bool:
    return authenticate(system.connections, presented, system.environment_token) is not None


@router.get(
    "",
    response_class=EventSourceResponse,
    responses=PROBLEMS,
    operation_id="events",
    dependencies=[Depends(place_of)],
)
async def events(
    system: System,
    _: Reader,
    presented: Presented,
    position: Annotated[FeedPosition, Depends(position_of)],
    max_events: Annotated[int | None, Query(ge=1, le=1_000_000, description="End after so many events.")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow the ledger: `fill` for each fill of a master, `order` for each change of a copy order.

    Each event has an id. After a lost connection a client sends the last one as `Last-Event-ID`, and misses nothing.
    """
    is_allowed = partial(_is_allowed, system, presented.credentials if presented else "")
    async for event in follow(system, Stream(position, max_events, is_allowed)):
        yield event
