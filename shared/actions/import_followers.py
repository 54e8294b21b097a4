"""Adds many followers at once: all rows of an import file, or none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

    Rows without numbers are counted from 1, in the order in which they are given.

    `check`: ask the brokers what the keys may do. Raises ImportRefused, which names every row that cannot join;
    ActionRefused (actor or reason), RedisUnavailable, RedisUnusable, RedisError, DatabaseUnavailable, BadSecretKey.
    Nothing was stored then.
    """
    require_recordable(actor, reason)
    rows = _numbered(rows)
    context.require_redis(row.broker for row in rows)
    problems = _problems_here(context, rows)
    problems |= context.store.taken([row for row in rows if row.row not in problems])
    notes: tuple[str, ...] = ()
    if check:
        # Only keys whose answer matters are asked about.
        checked = check_rows(context, [row for row in rows if row.row not in problems])
        problems |= checked.problems
        notes = checked.notes
        rows = [replace(row, identity=checked.identities.get(row.row)) for row in rows]
        problems |= context.store.taken([row for row in rows if row.row not in problems])
    if problems:
        raise ImportRefused(problems)
    context.store.import_rows(rows, actor=actor, reason=reason, announce=context.announce)
    return ImportedFollowers(Counter(row.broker for row in rows), notes)


def _numbered(rows: Sequence[NewFollower]) -> Sequence[NewFollower]:
    """The rows with their numbers. If a number is missing or occurs twice, all rows are counted from 1."""
    numbers = {row.row for row in rows}
    if 0 not in numbers and len(numbers) == len(rows):
        return rows
    return [replace(row, row=number) for number, row in enumerate(rows, start=1)]


def _problems_here(context: ActionContext, rows: Sequence[NewFollower]) -> dict[int, str]:
    """The problems of rows that are known without PostgreSQL and without a broker."""
    problems: dict[int, str] = {}
    first_with_id: dict[tuple[Broker, str], int] = {}
    for row in rows:
        first = first_with_id.setdefault((row.broker, row.follower_id), row.row)
        if not _is_valid(row.follower_id):
            problems[row.row] = INVALID_ID
        elif first != row.row:
            problems[row.row] = f"follower id {row.follower_id} is in row {first} already"
        elif context.is_masters_key(row.broker, row.credentials):
            problems[row.row] = _REFUSAL
    return problems


def _is_valid(follower_id: str) -> bool:
    try:
        parse_follower_id(follower_id)
    except InvalidFollowerId:
        return False
    return True
