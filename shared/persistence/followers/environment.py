"""Brings the followers table into step with the followers that the environment names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine

from shared.domain.accounts.credentials import Credentials, EnvironmentFollower, key_hash
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.database import transaction
from shared.persistence.errors import BadSecretKey, FollowerTaken
from shared.persistence.followers import records, writes
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import FollowerRecord, Source
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.writes import Announce, Audit, joining

ACTOR: Final = "environment"
GONE: Final = "its variables are not in the environment any more"
NOT_TAKEN: Final = "the key in its variables is not used: "

Key = tuple[Broker, FollowerId]
"""Broker and follower id."""


class KeyDoubt(NamedTuple):
    """Why a follower's new key is not used."""

    text: str
    answered: bool = True
    """False: the broker could not be asked, so the key may be right."""


JudgeKeys = Callable[[Sequence[tuple[FollowerRecord, Credentials]]], Sequence[KeyDoubt | None]]
"""Returns for each follower why its key must not be replaced by this one; None if it may. It may ask the brokers."""


def judge_nothing(changed: Sequence[tuple[FollowerRecord, Credentials]]) -> Sequence[KeyDoubt | None]:
    """The `judge` of a caller that trusts the environment."""
    return [None] * len(changed)


@dataclass(frozen=True, slots=True)
class Registration:
    """What changed."""

    added: tuple[Key, ...]
    updated: tuple[Key, ...]
    """Their keys changed, or are there again."""
    disabled: tuple[Key, ...]
    """Known from the environment, but not in it any more."""
    removed_before: tuple[Key, ...]
    """In the environment, but removed by an operator; they stay removed."""
    refused: Mapping[Key, str] = field(default_factory=dict)
    """Their new keys are not used, for this reason. They keep the old keys, and are disabled."""
    postponed: Mapping[Key, str] = field(default_factory=dict)
    """Their new keys could not be checked. They keep the old keys and their status. The next registration asks again."""


def register(
    engine: Engine,
    box: SecretBox,
    followers: Sequence[EnvironmentFollower],
    announce: Announce,
    judge: JudgeKeys = judge_nothing,
) -> Registration:
    """Make all followers of the environment known: `followers` is the whole list, not a part of it.

    New ones join. Changed keys are taken over, and a disabled follower is active again with them. One that was
    there before and is not any more is disabled, because its key was taken away. So is one whose new key `judge`
    refuses after it has asked the broker. All of it or nothing. Raises FollowerTaken when an id belongs to a follower
    of the database or a key to another follower.
    """
    given: dict[Key, Credentials] = {(each.broker, each.follower_id): each.credentials for each in followers}
    with transaction(engine) as connection:
        known = records.read_all_of(connection, Source.ENVIRONMENT)
        changed = [
            each
            for each in known
            if (each.broker, each.follower_id) in given
            and each.status is not FollowerStatus.REMOVED
            and not _holds(connection, box, each, given[each.broker, each.follower_id])
        ]
    # The brokers are asked outside of the transactions, because they may be slow.
    doubts = judge([(each, given[each.broker, each.follower_id]) for each in changed])
    refused = {
        (each.broker, each.follower_id): doubt for each, doubt in zip(changed, doubts, strict=True) if doubt is not None
    }
    brokers = {broker for broker, _ in given} | {record.broker for record in known}
    with joining(engine, brokers, announce) as connection:
        now = datetime.now(UTC)
        present = {(r.broker, r.follower_id): r for r in records.read_all_of(connection, Source.ENVIRONMENT)}
        disabled = _disable_gone(connection, present, given, now)
        for (broker, follower_id), doubt in refused.items():
            if doubt.answered:
                because = Audit(ACTOR, NOT_TAKEN + doubt.text, now)
                writes.change_status(connection, broker, follower_id, FollowerStatus.DISABLED, because)
        updated = [
            key
            for key, credentials in given.items()
            if key not in refused and _update(connection, box, present.get(key), credentials, now)
        ]
        added = _add(connection, box, {key: c for key, c in given.items() if key not in present}, now)
    # Between the first announcement and the commit a worker may have read a key that has just been replaced.
    for broker in sorted(brokers):
        announce(broker)
    removed = [key for key in given if key in present and present[key].status is FollowerStatus.REMOVED]
    return Registration(
        tuple(added),
        tuple(updated),
        tuple(disabled),
        tuple(removed),
        refused={key: doubt.text for key, doubt in refused.items() if doubt.answered},
        postponed={key: doubt.text for key, doubt in refused.items() if not doubt.answered},
    )


def _disable_gone(
    connection: Connection, present: dict[Key, FollowerRecord], given: dict[Key, Credentials], now: datetime
) -> list[Key]:
    gone = [
        key
        for key, record in present.items()
        if key not in given and record.status in (FollowerStatus.ACTIVE, FollowerStatus.PAUSED)
    ]
    for broker, follower_id in gone:
        writes.change_status(connection, broker, follower_id, FollowerStatus.DISABLED, Audit(ACTOR, GONE, now))
    return gone


def _update(
    connection: Connection, box: SecretBox, record: FollowerRecord | None, credentials: Credentials, now: datetime
) -> bool:
    if record is None or record.status is FollowerStatus.REMOVED:
        return False
    if _holds(connection, box, record, credentials):
        was_environment = record.status_reason == GONE or record.status_reason.startswith(NOT_TAKEN)
        if record.status is not FollowerStatus.DISABLED or not was_environment:
            return False
        back = Audit(ACTOR, "its variables are there again, with its key", now)
        before = _status_before(connection, record)
        return writes.change_status(connection, record.broker, record.follower_id, before, back)
    records.require_free_key(connection, record.broker, record.follower_id, credentials)
    sealed = box.seal(record.broker, record.follower_id, credentials)
    changed = Audit(ACTOR, "its variables changed", now)
    before = _status_before(connection, record)
    writes.change_credentials(connection, record, sealed, key_hash(credentials.api_key), changed)
    if before is FollowerStatus.PAUSED:
        writes.change_status(connection, record.broker, record.follower_id, before, changed)
    return True


def _status_before(connection: Connection, record: FollowerRecord) -> FollowerStatus:
    """The status before the environment disabled the follower, for example paused; otherwise active."""
    last = records.last_status_change(connection, record.broker, record.follower_id)
    if record.status is not FollowerStatus.DISABLED or last is None or last.actor != ACTOR:
        return FollowerStatus.ACTIVE
    return FollowerStatus(last.before or FollowerStatus.ACTIVE)


def _holds(connection: Connection, box: SecretBox, record: FollowerRecord, credentials: Credentials) -> bool:
    sealed = records.sealed_credentials(connection, record)
    try:
        return box.open(record.broker, record.follower_id, sealed) == credentials
    except BadSecretKey:
        # NIJA_SECRET_KEY is another one now; the environment has the key in clear, so it is sealed again.
        return False


def _add(connection: Connection, box: SecretBox, new: dict[Key, Credentials], now: datetime) -> list[Key]:
    rows = [NewFollower(broker, follower_id, c, n) for n, ((broker, follower_id), c) in enumerate(new.items(), 1)]
    problems = records.taken(connection, rows)
    if problems:
        raise FollowerTaken("followers of the environment: " + "; ".join(problems.values()))
    sealed = [box.seal(row.broker, row.follower_id, row.credentials) for row in rows]
    writes.insert_followers(connection, rows, sealed, source=Source.ENVIRONMENT, audit=Audit(ACTOR, "", now))
    return list(new)
