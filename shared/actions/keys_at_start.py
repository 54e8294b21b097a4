"""Decides at the start of nija which keys may be used: masters' keys by broker, and keys of the environment's followers.

A broker whose master's key may not be used is left out. A follower whose key may not be used is disabled, and gets
its status back at a later start that finds the key in order.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.actions.context import MASTER, ActionContext
from shared.actions.key_check import ACTOR as ACTOR
from shared.actions.key_check import AccountKey, ask_about_keys, key_of_follower, keys_of_masters, no_answer
from shared.domain.accounts.credentials import EnvironmentFollower
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.followers.environment import Key, Registration
from shared.persistence.followers.records import OF_MASTER, account_taken
from shared.persistence.followers.store import FollowerStore

BACK: Final = "its key is in order again"


@dataclass(frozen=True, slots=True)
class StartKeys:
    """The brokers that can run, why others cannot, and lines for the operator."""

    usable: tuple[Broker, ...]
    left_out: Mapping[Broker, str]
    notes: tuple[str, ...]

    def refusal(self) -> str:
        """The text for a start at which no broker can run."""
        reasons = "; ".join(f"{broker.value}: {message}" for broker, message in self.left_out.items())
        return (
            f"no master's key may be used: {reasons} "
            "(NIJA_ALLOW_WITHDRAW_KEYS allows keys that may withdraw, for example kraken:master)"
        )


async def check_keys_at_start(
    context: ActionContext,
    brokers: Sequence[Broker],
    followers: Sequence[EnvironmentFollower],
    registration: Registration,
) -> StartKeys:
    """Ask about the masters' keys at `brokers` and the keys of the environment's `followers`, and act on the answers.

    A key stays in use while the broker reports nothing about it, if it was in use before. Without its key, the
    positions of an account could not be closed. No change is announced, because no stage runs yet. Raises
    DatabaseUnavailable.
    """
    known = await asyncio.to_thread(context.store.all)
    disabled = {(each.broker, each.follower_id) for each in known if each.status is FollowerStatus.DISABLED}
    not_in_use: set[Key] = {*registration.added, *registration.updated, *disabled}
    left_out: dict[Broker, str] = {}
    notes: list[str] = []
    found = await ask_about_keys(context.access, _asked(context, brokers, followers, registration))
    masters = {(each.broker, each.identity) for each in found if each.role == MASTER and each.identity}
    for answer in found:
        each = answer
        if each.role != MASTER and each.usable and each.identity is not None:
            each = await asyncio.to_thread(_with_own_account, context.store, each, masters)
        key, is_master = (each.broker, FollowerId(each.account)), each.role == MASTER
        name = f"{each.broker.value}: the key of {each.role if is_master else each.account}"
        if each.verdict is KeyVerdict.NOT_CHECKED:
            notes.append(f"{name} was not checked: {each.message}")
        elif each.usable:
            if not is_master and each.answered and key in disabled:
                notes += await asyncio.to_thread(_bring_back, context.store, each)
        elif not each.answered and (is_master or key not in not_in_use):
            notes.append(f"{name} was not checked: {no_answer(each.broker)}; it is used nevertheless")
        elif is_master:
            left_out[each.broker] = each.message
            notes.append(f"{name} is not used, {each.broker.value} is left out: {each.message}")
        else:
            notes.append(f"{name} is not used, this follower is disabled: {each.message}")
            await asyncio.to_thread(_disable, context.store, each)
    usable = tuple(broker for broker in brokers if broker not in left_out)
    return StartKeys(usable, left_out, tuple(notes))


def refuse_shared_accounts(
    context: ActionContext, followers: Sequence[EnvironmentFollower], registration: Registration
) -> Mapping[Key, str]:
    """Disable followers with new keys whose account another follower or the master has, and return the reasons.

    Only keys that `registration` added or updated are checked. An account whose identity the broker does not report is
    accepted. Raises DatabaseUnavailable, ChangeNotAnnounced.
    """
    changed = {*registration.added, *registration.updated}
    brokers = sorted({broker for broker, _ in changed})
    asked = [
        each
        for each in _asked(context, brokers, followers, registration)
        if each.role == MASTER or (each.broker, FollowerId(each.account)) in changed
    ]
    found = asyncio.run(ask_about_keys(context.access, asked))
    masters = {(each.broker, each.identity) for each in found if each.role == MASTER and each.identity}
    refused: dict[Key, str] = {}
    for each in found:
        if each.role != MASTER and each.identity is not None:
            checked = _with_own_account(context.store, each, masters)
            if checked.verdict is KeyVerdict.SAME_ACCOUNT:
                _disable(context.store, checked)
                refused[each.broker, FollowerId(each.account)] = checked.message
    for broker in sorted({broker for broker, _ in refused}):
        context.announce_stored(broker)
    return refused


def _asked(
    context: ActionContext,
    brokers: Sequence[Broker],
    followers: Sequence[EnvironmentFollower],
    registration: Registration,
) -> list[AccountKey]:
    return keys_of_masters(context, brokers) + [
        key_of_follower(context, each.broker, each.follower_id, each.credentials)
        for each in followers
        if each.broker in brokers
        and (each.broker, each.follower_id)
        not in {*registration.removed_before, *registration.refused, *registration.postponed}
    ]


def _with_own_account(
    store: FollowerStore, checked: CheckedKey, masters: Collection[tuple[Broker, str | None]]
) -> CheckedKey:
    """Store the identity of the account. A key of another follower's or the master's account may not be used."""
    broker, name = checked.broker, FollowerId(checked.account)
    if (broker, checked.identity) in masters:
        problem: str | None = account_taken(broker, name, OF_MASTER)
    else:
        problem = store.note_identity(broker, name, checked.identity or "", actor=ACTOR)
    if problem is None:
        return checked
    return checked.model_copy(update={"verdict": KeyVerdict.SAME_ACCOUNT, "message": problem})


def _disable(store: FollowerStore, checked: CheckedKey) -> None:
    store.set_status(
        checked.broker, FollowerId(checked.account), FollowerStatus.DISABLED, actor=ACTOR, reason=checked.message
    )


def _bring_back(store: FollowerStore, checked: CheckedKey) -> list[str]:
    """Undo what this check did earlier. A follower that an operator or a broker disabled stays disabled."""
    status = store.undo_disabled(checked.broker, FollowerId(checked.account), disabled_by=ACTOR, reason=BACK)
    if status is None:
        return []
    return [f"{checked.broker.value}: follower {checked.account} is {status.value} again: {BACK}"]
