"""Adds many followers at once: all rows of an import file, or none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.actions.context import ActionContext
from shared.actions.follower_keys import CANNOT_COPY_ITSELF, MASTERS_KEY, check_rows
from shared.actions.record_texts import require_recordable
from shared.domain.errors import InvalidFollowerId
from shared.domain.identity import Broker, parse_follower_id
from shared.persistence.errors import ImportRefused
from shared.persistence.followers.import_file import INVALID_ID
from shared.persistence.followers.import_file import ImportFormat as ImportFormat
from shared.persistence.followers.import_file import NewFollower as NewFollower
from shared.persistence.followers.import_file import read_rows as read_rows

_REFUSAL: Final = f"{MASTERS_KEY}; {CANNOT_COPY_ITSELF}"


@dataclass(frozen=True, slots=True)
class ImportedFollowers:
    """The number of new followers at each broker, and lines that the operator should read."""

    counts: Mapping[Broker, int]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return sum(self.counts.values())


def import_followers(
    context: ActionContext, rows: Sequence[NewFollower], *, check: bool = True, actor: str, reason: str = ""
) -> ImportedFollowers:
    """Let these accounts copy from the next fill on. `read_rows` makes the rows from the text of a file.

    `check`: ask the brokers what the keys may do. Raises ImportRefused, which names every row that cannot join;
    ActionRefused (actor or reason), RedisUnavailable, RedisUnusable, RedisError, DatabaseUnavailable, BadSecretKey. Nothing was stored then.
    """
    require_recordable(actor, reason)
    if invalid := [row.row for row in rows if not _is_valid(row.follower_id)]:
        raise ImportRefused(dict.fromkeys(invalid, INVALID_ID))
    context.require_redis(row.broker for row in rows)
    if masters := [row.row for row in rows if context.is_masters_key(row.broker, row.credentials)]:
        raise ImportRefused(dict.fromkeys(masters, _REFUSAL))
    if taken := context.store.taken(rows):
        raise ImportRefused(taken)
    notes: tuple[str, ...] = ()
    if check:
        checked = check_rows(context, rows)
        if checked.problems:
            raise ImportRefused(dict(checked.problems))
        notes = checked.notes
    context.store.import_rows(rows, actor=actor, reason=reason, announce=context.announce)
    return ImportedFollowers(Counter(row.broker for row in rows), notes)


def _is_valid(follower_id: str) -> bool:
    try:
        parse_follower_id(follower_id)
    except InvalidFollowerId:
        return False
    return True
