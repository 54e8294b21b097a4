"""Changes one follower: add, pause, resume, replace its key, remove.

Before it stores anything, each function checks that the actor and the reason can be recorded, and that the running
stages can be notified. All of them raise ActionRefused, DatabaseUnavailable, RedisUnavailable and RedisUnusable. Then
nothing was changed, unless PostgreSQL failed during the commit. They raise ChangeNotRead when PostgreSQL fails after
the commit. `add_follower` raises RedisError when Redis fails after the check, and stores nothing.

All that change an existing follower raise UnknownFollower, AmbiguousFollower (the id exists at several brokers, and
none was given), and FollowerGone for a removed one. They raise ChangeNotAnnounced when Redis fails after the commit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused, ChangeNotRead, KeyNotUsable, OrderUnsettled
from shared.actions.follower_keys import refuse_masters_key, require_usable
from shared.actions.follower_removal import forget_alerts, has_unsettled_order
from shared.actions.record_texts import require_recordable
from shared.actions.same_account import account_doubt
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.errors import DatabaseUnavailable, FollowerTaken, OtherStatus
from shared.persistence.followers.find import find_follower
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import FollowerRecord, other_account
from shared.persistence.reports.reports import PositionLine

_SAME_ACCOUNT_HINT: Final = ". If you know that it is the same account, give --same-account"


@dataclass(frozen=True, slots=True)
class FollowerResult:
    """A follower after an action."""

    follower: FollowerRecord
    changed: bool = True
    """False: it was as wanted before, and nothing was stored."""
    notes: tuple[str, ...] = ()
    """Lines that the operator should read, for example about a key that could not be checked."""


@dataclass(frozen=True, slots=True)
class RemovedFollower:
    """A removed follower, and the copied positions that stay open at its broker."""

    follower: FollowerRecord
    stays_open: tuple[PositionLine, ...]


def add_follower(
    context: ActionContext,
    broker: Broker,
    follower_id: FollowerId,
    credentials: Credentials,
    *,
    allow_withdraw: bool = False,
    check: bool = True,
    actor: str,
    reason: str = "",
) -> FollowerResult:
    """Let an account copy from the next fill on.

    `allow_withdraw`: accept a key that may withdraw. `check`: ask the broker what the key may do. Raises
    InvalidFollowerId, KeyNotUsable (the master's own account, or a key that may not trade or may withdraw),
    FollowerTaken (the id, the key or the account is in use), BadSecretKey.
    """
    require_recordable(actor, reason)
    follower_id = parse_follower_id(follower_id)
    context.require_redis([broker])
    refuse_masters_key(context, broker, credentials)
    new = NewFollower(broker, follower_id, credentials, withdraw_allowed=allow_withdraw)
    # Before the broker is asked: its answer would not matter.
    if taken := context.store.taken([new]):
        raise FollowerTaken(next(iter(taken.values())))
    usable = require_usable(context, new, check=check)
    context.store.add(
        broker,
        follower_id,
        credentials,
        withdraw_allowed=allow_withdraw,
        identity=usable.identity,
        actor=actor,
        reason=reason,
        announce=context.announce,
    )
    with _reading_what_was_stored():
        return FollowerResult(context.store.get(broker, follower_id), notes=usable.notes)


def pause_follower(
    context: ActionContext, follower_id: FollowerId, broker: Broker | None = None, *, actor: str, reason: str = ""
) -> FollowerResult:
    """Skip opens from now on. Exits continue.

    A disabled follower is refused with ActionRefused. A later resumption would otherwise not check its key.
    """
    require_recordable(actor, reason)
    record = find_follower(context.store, follower_id, broker)
    unless = FollowerStatus.DISABLED
    try:
        return _set_status(context, record, FollowerStatus.PAUSED, unless=unless, actor=actor, reason=reason)
    except OtherStatus as refused:
        raise ActionRefused(
            f"{refused} and copies nothing, so there is nothing to pause: `nija followers resume` checks its key and "
            "lets it copy again, `nija followers replace-key` gives it another key"
        ) from None


def resume_follower(
    context: ActionContext,
    follower_id: FollowerId,
    broker: Broker | None = None,
    *,
    check: bool = True,
    actor: str,
    reason: str = "",
) -> FollowerResult:
    """Copy again after a pause, or after the follower was disabled.

    A disabled follower's key is checked at the broker, unless `check` is false. Raises KeyNotUsable when the key still
    may not be used, and BadSecretKey when the stored key cannot be read. Raises ActionRefused when the follower is
    disabled during this call, before its key was checked.
    """
    require_recordable(actor, reason)
    record = find_follower(context.store, follower_id, broker)
    notes: tuple[str, ...] = ()
    if record.status is FollowerStatus.DISABLED and check:
        stored = context.store.credentials(record.broker, [record.follower_id])
        for credentials in stored.values():
            same = NewFollower(record.broker, record.follower_id, credentials, withdraw_allowed=record.withdraw_allowed)
            usable = require_usable(context, same, check=True)
            notes = usable.notes
            if usable.identity is not None:
                _require_identity(context, record, usable.identity, actor)
    # The status may have changed since it was read. A key that was not checked must not come back into use.
    unless = FollowerStatus.DISABLED if check and record.status is not FollowerStatus.DISABLED else None
    try:
        return _set_status(
            context, record, FollowerStatus.ACTIVE, unless=unless, actor=actor, reason=reason, notes=notes
        )
    except OtherStatus as refused:
        raise ActionRefused(
            f"{refused} since a moment ago, and its key was not checked: resume it again, which checks the key"
        ) from None


def replace_key(
    context: ActionContext,
    follower_id: FollowerId,
    credentials: Credentials,
    broker: Broker | None = None,
    *,
    allow_withdraw: bool = False,
    same_account: bool = False,
    check: bool = True,
    actor: str,
    reason: str = "",
) -> FollowerResult:
    """Give a follower another API key of the same account. A disabled follower copies again.

    A key of another account is refused with FollowerTaken or KeyNotUsable. `same_account`: the operator says that it is
    the same account, where nija cannot find that out. This is recorded.

    If the key is already stored, nothing changes and `changed` is False. Show this to the operator: the old key is
    still in use. A permission to withdraw that was given before stays. Raises
    KeyNotUsable, FollowerTaken (the key is another follower's), FollowerError (the keys come from the environment),
    BadSecretKey.
    """
    require_recordable(actor, reason)
    record = find_follower(context.store, follower_id, broker)
    context.require_redis([record.broker])
    refuse_masters_key(context, record.broker, credentials)
    allowed = allow_withdraw or record.withdraw_allowed
    stored = context.store.credentials_or_errors(record.broker, [record.follower_id]).get(record.follower_id)
    if stored == credentials and allowed == record.withdraw_allowed:
        return FollowerResult(record, changed=False)
    new = NewFollower(record.broker, record.follower_id, credentials, withdraw_allowed=allowed)
    usable = require_usable(context, new, check=check)
    doubt = account_doubt(context, record, credentials, usable.identity, ask=check and not same_account)
    if doubt and (not same_account or doubt.text == other_account(record.broker, record.follower_id)):
        hint = "" if same_account or (usable.identity and record.identity) else _SAME_ACCOUNT_HINT
        raise KeyNotUsable(doubt.text + hint)
    context.store.replace_credentials(
        record.broker,
        record.follower_id,
        credentials,
        withdraw_allowed=allowed,
        identity=usable.identity,
        same_account=same_account and doubt is not None,
        actor=actor,
        reason=reason,
        announce=context.announce_stored,
    )
    with _reading_what_was_stored():
        return FollowerResult(context.store.get(record.broker, record.follower_id), notes=usable.notes)


def remove_follower(
    context: ActionContext,
    follower_id: FollowerId,
    broker: Broker | None = None,
    *,
    with_unsettled_order: bool = False,
    actor: str,
    reason: str = "",
) -> RemovedFollower:
    """Wipe a follower's keys and never trade for it again. Its history stays, and its id stays taken.

    Its copied positions stay open at the broker and belong to the owner of the account from now on. Its alerts end.

    `with_unsettled_order`: also remove it if an order has no known outcome, which then stays unknown. Raises
    OrderUnsettled otherwise.
    """
    require_recordable(actor, reason)
    record = find_follower(context.store, follower_id, broker)
    context.require_redis([record.broker])
    if (
        record.status is not FollowerStatus.REMOVED
        and not with_unsettled_order
        and has_unsettled_order(context, record.broker, record.follower_id)
    ):
        raise OrderUnsettled(
            f"an order of {record.follower_id} at {record.broker.value} has no known outcome, and only the key can look "
            "it up: run `nija reconcile --repair` and remove the follower then, or remove it now with --force"
        )
    announce = context.announce_stored
    context.store.remove(record.broker, record.follower_id, actor=actor, reason=reason, announce=announce)
    forget_alerts(context, record.broker, record.follower_id)
    with _reading_what_was_stored():
        held = context.reports.positions(record.broker, follower_id=record.follower_id)
        return RemovedFollower(context.store.get(record.broker, record.follower_id), tuple(held))


def _require_identity(context: ActionContext, record: FollowerRecord, identity: str, actor: str) -> None:
    problem = context.store.note_identity(record.broker, record.follower_id, identity, actor=actor)
    if problem is not None:
        raise KeyNotUsable(problem)


def _set_status(
    context: ActionContext,
    record: FollowerRecord,
    status: FollowerStatus,
    *,
    unless: FollowerStatus | None,
    actor: str,
    reason: str,
    notes: tuple[str, ...] = (),
) -> FollowerResult:
    context.require_redis([record.broker])
    changed = context.store.set_status(
        record.broker,
        record.follower_id,
        status,
        unless=unless,
        actor=actor,
        reason=reason,
        announce=context.announce_stored,
    )
    with _reading_what_was_stored():
        return FollowerResult(context.store.get(record.broker, record.follower_id), changed, notes)


@contextmanager
def _reading_what_was_stored() -> Iterator[None]:
    """Turn DatabaseUnavailable, which would mean that nothing was stored, into ChangeNotRead."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise ChangeNotRead(f"the change was stored, but its result could not be read: {error}") from error
