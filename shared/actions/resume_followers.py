"""Lets all followers copy again that nija disabled, for example after the broker refused many keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.actions.context import ActionContext
from shared.actions.follower_keys import check_rows
from shared.actions.record_texts import require_recordable
from shared.domain.copying.follower import MASTERS_OWN_ACCOUNT, FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.followers.environment import GONE
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import FollowerRecord
from shared.persistence.followers.writes import announce_nothing

_STAY: Final = (GONE, MASTERS_OWN_ACCOUNT)
"""No check of the key shows that these reasons are over. An operator resumes such a follower by its name."""


@dataclass(frozen=True, slots=True)
class ResumedFollowers:
    """The followers that copy again, and those that stay disabled."""

    resumed: tuple[tuple[Broker, FollowerId], ...]
    still_disabled: Mapping[tuple[Broker, FollowerId], str]
    """Broker and follower to the reason."""
    notes: tuple[str, ...] = ()
    """Lines that the operator should read, for example about keys that could not be checked."""


def resume_disabled_followers(
    context: ActionContext, broker: Broker | None = None, *, check: bool = True, actor: str, reason: str = ""
) -> ResumedFollowers:
    """Resume every disabled follower of one broker, or of all brokers. Paused followers stay paused.

    Each key is checked at its broker, unless `check` is false. A follower whose key may not be used stays disabled, and
    so does one whose key opens another follower's account or the master's. So does one whose variables were taken out
    of the environment. Raises ActionRefused, DatabaseUnavailable,
    RedisUnavailable, RedisUnusable. Raises ChangeNotAnnounced when Redis fails after the changes were stored.
    """
    require_recordable(actor, reason)
    disabled = [each for each in context.store.all(broker) if each.status is FollowerStatus.DISABLED]
    brokers = {each.broker for each in disabled}
    context.require_redis(brokers)
    still: dict[tuple[Broker, FollowerId], str] = {
        (each.broker, each.follower_id): each.status_reason for each in disabled if each.status_reason in _STAY
    }
    candidates = [each for each in disabled if (each.broker, each.follower_id) not in still]
    notes: tuple[str, ...] = ()
    if check and candidates:
        rows = _rows(context, candidates, still)
        checked = check_rows(context, rows)
        notes = checked.notes
        for row in rows:
            problem, identity = checked.problems.get(row.row), checked.identities.get(row.row)
            if problem is None and identity is not None:
                problem = context.store.note_identity(row.broker, row.follower_id, identity, actor=actor)
            if problem is not None:
                still[row.broker, row.follower_id] = problem
    resumed = [(each.broker, each.follower_id) for each in candidates if (each.broker, each.follower_id) not in still]
    for where, follower_id in resumed:
        context.store.set_status(
            where, follower_id, FollowerStatus.ACTIVE, actor=actor, reason=reason, announce=announce_nothing
        )
    for where in sorted({each for each, _ in resumed}):
        context.announce_stored(where)
    return ResumedFollowers(tuple(resumed), still, notes)


def _rows(
    context: ActionContext, followers: Sequence[FollowerRecord], still: dict[tuple[Broker, FollowerId], str]
) -> list[NewFollower]:
    """The followers with their keys. One whose key cannot be read is put into `still`."""
    rows: list[NewFollower] = []
    for broker in sorted({each.broker for each in followers}):
        here = [each for each in followers if each.broker is broker]
        keys = context.store.credentials_or_errors(broker, [each.follower_id for each in here])
        for each in here:
            key = keys.get(each.follower_id)
            if key is None:
                still[broker, each.follower_id] = "it has no key"
            elif isinstance(key, Exception):
                still[broker, each.follower_id] = str(key)
            else:
                new = NewFollower(broker, each.follower_id, key, len(rows) + 1, each.withdraw_allowed)
                rows.append(new)
    return rows
