"""Publishes master fills to a broker's stream `fills`, once and in order, and reads them from it.

The entry of a fill has the id `{sequence}-0`, with the sequence from the ledger. So a publish that is repeated after a
crash, a lost reply or a retry of the client library finds its own entry and adds no second one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.domain.copying.master_fill import MasterFill
from shared.domain.errors import NijaError, problems_of
from shared.messaging.keys import FILL_FIELD, BrokerKeys
from shared.messaging.scripts import script
from shared.messaging.stream_replies import entries_of_one_stream, text_of


class Publication(StrEnum):
    """Whether a publish added the fill or found it. In both cases the fill is in the stream once."""

    PUBLISHED = "published"
    ALREADY_THERE = "already"


class StreamLostEntries(NijaError):
    """The fill before this one is missing in the stream. First the stream must be rebuilt from the ledger."""

    def __init__(self, stream: str, newest_sequence: int, sequence: int) -> None:
        super().__init__(
            f"{stream} ends at {newest_sequence}, but fill {sequence} is next: Redis lost data, "
            "or REDIS_URL points to another Redis than before"
        )
        self.newest_sequence = newest_sequence


class StreamConflict(NijaError):
    """Another entry of the stream has the id of this fill: stream and ledger do not belong together."""

    def __init__(self, stream: str, newest_sequence: int, sequence: int) -> None:
        super().__init__(
            f"{stream} ends at {newest_sequence} and holds something else where fill {sequence} belongs: "
            "REDIS_URL and DATABASE_URL do not belong together"
        )
        self.newest_sequence = newest_sequence


class UnreadableFill(NamedTuple):
    """An entry that is not a `MasterFill` of this broker with the sequence of its id: its fields, and the reason."""

    fields: dict[str, str]
    error: str


class FillEntry(NamedTuple):
    """One entry of the stream and its id, which is `{sequence}-0` unless another program wrote the entry."""

    entry_id: str
    fill: MasterFill | UnreadableFill


async def publish_fill(redis: Redis, keys: BrokerKeys, fill: MasterFill) -> Publication:
    """Add the fill to the stream under its sequence. A repeated call changes nothing.

    Raises StreamLostEntries or StreamConflict, and redis-py's own errors when Redis does not answer.
    """
    publish = redis.register_script(script("publish_fill").text)
    arguments: list[str | int] = [fill.sequence, FILL_FIELD, fill.model_dump_json(), fill.master_account, fill.fill_id]
    word, newest = await publish(keys=[keys.fills], args=arguments)
    match text_of(word):
        case "behind":
            raise StreamLostEntries(keys.fills, int(newest), fill.sequence)
        case "conflict":
            raise StreamConflict(keys.fills, int(newest), fill.sequence)
        case outcome:
            return Publication(outcome)


async def read_fills(
    redis: Redis, keys: BrokerKeys, after_sequence: int, count: int, block_ms: int = 0
) -> list[FillEntry]:
    """Return up to `count` entries after `after_sequence`, oldest first. The list is empty if there are none.

    If `block_ms` is above 0, wait up to this time for a first entry. The socket timeout of the client must be longer.
    The client must not use `decode_responses`: redis-py would then raise for an entry that is not UTF-8.
    """
    reply: Any = await redis.xread({keys.fills: f"{after_sequence}-0"}, count=count, block=block_ms or None)
    return [_entry(keys, text_of(entry_id), fields) for entry_id, fields in entries_of_one_stream(reply)]


def _entry(keys: BrokerKeys, entry_id: str, raw: Mapping[Any, Any] | None) -> FillEntry:
    fields = {text_of(name): text_of(value) for name, value in (raw or {}).items()}
    if FILL_FIELD not in fields:
        return FillEntry(entry_id, UnreadableFill(fields, f"the entry has no field {FILL_FIELD!r}"))
    try:
        fill = MasterFill.model_validate_json(fields[FILL_FIELD])
    except ValidationError as error:
        return FillEntry(entry_id, UnreadableFill(fields, problems_of(error, "fill")))
    if fill.broker is not keys.broker or entry_id != f"{fill.sequence}-0":
        return FillEntry(
            entry_id, UnreadableFill(fields, f"fill {fill.sequence} of {fill.broker.value} is not at its place")
        )
    return FillEntry(entry_id, fill)
