"""Checks the keys of masters and followers at their brokers, and reports each with a verdict."""

import asyncio
from collections.abc import Iterable
from typing import Final

from shared.actions.context import MASTER, ActionContext
from shared.actions.errors import NothingToCheck
from shared.actions.key_check import ACTOR as KEY_CHECK_ACTOR
from shared.actions.key_check import AccountKey, ask_about_keys, key_of_follower, keys_of_masters
from shared.brokers.registry import profile_of
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import UnknownFollower

GOOD: Final = frozenset({KeyVerdict.FINE, KeyVerdict.ALLOWED, KeyVerdict.NOT_SET})
"""The verdicts that are no finding."""


def check_keys(
    context: ActionContext, *, broker: Broker | None = None, follower_id: FollowerId | None = None
) -> tuple[CheckedKey, ...]:
    """Ask about every key, or about the keys of one broker or of one follower.

    A master whose key is not set here is in the result with the verdict *not set*. The identities of accounts that were
    not known are stored, with the actor `key check`. Nothing else is changed. Raises UnknownFollower, NothingToCheck, BadSecretKey, DatabaseUnavailable.
    """
    asked = [] if follower_id else keys_of_masters(context, (broker,) if broker else tuple(Broker))
    asked += _follower_keys(context, broker, follower_id)
    if follower_id and not asked:
        raise UnknownFollower(f"there is no follower {follower_id!r}; `nija followers list` shows who there is")
    if not asked:
        raise NothingToCheck("there is no key to check: set a master account's key, or add followers")
    found = [_noted(context, each) for each in asyncio.run(ask_about_keys(context.access, asked))]
    if follower_id:
        return tuple(found)
    concerned = {broker} if broker else {*context.enabled, *(key.broker for key in asked)}
    return (*_masters_without_key(context, concerned), *found)


def _noted(context: ActionContext, checked: CheckedKey) -> CheckedKey:
    """Store the identity of a follower's account. A key that opens a wrong account gets the verdict *same account*."""
    if checked.role == MASTER or checked.identity is None or not checked.usable:
        return checked
    problem = context.store.note_identity(
        checked.broker, FollowerId(checked.account), checked.identity, actor=KEY_CHECK_ACTOR
    )
    if problem is None:
        return checked
    return checked.model_copy(update={"verdict": KeyVerdict.SAME_ACCOUNT, "message": problem})


def _follower_keys(context: ActionContext, broker: Broker | None, follower_id: FollowerId | None) -> list[AccountKey]:
    found = context.store.named(follower_id, broker) if follower_id else context.store.all(broker)
    records = [record for record in found if record.status is not FollowerStatus.REMOVED]
    credentials = {
        each: context.store.credentials(each, [record.follower_id for record in records if record.broker is each])
        for each in {record.broker for record in records}
    }
    return [
        key_of_follower(
            context,
            record.broker,
            record.follower_id,
            credentials[record.broker][record.follower_id],
            allowed=record.withdraw_allowed,
        )
        for record in records
        if record.follower_id in credentials[record.broker]
    ]


def _masters_without_key(context: ActionContext, brokers: Iterable[Broker]) -> list[CheckedKey]:
    """The masters whose keys this process does not have."""
    wanted = set(brokers) - set(context.masters)
    return [
        CheckedKey(
            broker=broker, account=MASTER, role=MASTER, verdict=KeyVerdict.NOT_SET, message=_not_set(context, broker)
        )
        for broker in Broker
        if broker in wanted
    ]


def _not_set(context: ActionContext, broker: Broker) -> str:
    if context.access.all_paper:
        return "not checked: only the running nija knows the paper master's key"
    return f"not checked: {profile_of(broker).variables_of_master}_API_KEY is not set here"
