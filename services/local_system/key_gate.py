"""Decides which keys a start of nija uses, after it has asked the brokers about them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from services.local_system.key_check import MASTER, AccountKey, check_keys, master_keys, not_told
from shared.config import ConfigurationError, Settings
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.persistence.followers.environment import Registration
from shared.persistence.followers.store import FollowerStore

ACTOR: Final = "key check"
BACK: Final = "its key is in order again"


async def usable_brokers(
    settings: Settings,
    brokers: Sequence[Broker],
    registration: Registration,
    store: FollowerStore,
    announce: Callable[[str], None],
) -> tuple[Broker, ...]:
    """Return the brokers whose master's key may be used, and disable environment followers whose key may not.

    Sometimes a broker gives no answer about a key. Then the key is used if it was in use before: without it, the
    positions of followers would not be closed any more. Raises ConfigurationError when no broker is left.
    """
    asked = master_keys(settings, brokers)
    asked += [
        AccountKey(
            each.broker,
            each.follower_id,
            "follower",
            each.credentials,
            settings.allows_withdraw(each.broker, each.follower_id),
        )
        for each in settings.environment_followers()
        if each.broker in brokers and (each.broker, each.follower_id) not in registration.removed_before
    ]
    known = await asyncio.to_thread(store.all)
    disabled = {(each.broker, each.follower_id) for each in known if each.status is FollowerStatus.DISABLED}
    not_in_use = {*registration.added, *registration.updated, *disabled}
    left_out: dict[Broker, str] = {}
    for each in await check_keys(settings, asked):
        key, is_master = (each.broker, each.account), each.role == MASTER
        name = f"{each.broker.value}: the key of {each.role if is_master else each.account}"
        if each.verdict is KeyVerdict.NOT_CHECKED:
            announce(f"{name} was not checked: {each.message}")
        elif each.usable:
            if not is_master and each.told and key in disabled:
                await asyncio.to_thread(_bring_back, store, each, announce)
        elif not each.told and (is_master or key not in not_in_use):
            announce(f"{name} was not checked: {not_told(each.broker)}; it is used nevertheless")
        elif is_master:
            left_out[each.broker] = each.message
            announce(f"{name} is not used, {each.broker.value} is left out: {each.message}")
        else:
            announce(f"{name} is not used, this follower is disabled: {each.message}")
            await asyncio.to_thread(_disable, store, each)
    usable = tuple(broker for broker in brokers if broker not in left_out)
    if not usable:
        raise ConfigurationError(
            "no master's key may be used: "
            + "; ".join(f"{broker.value}: {message}" for broker, message in left_out.items())
            + " (NIJA_ALLOW_WITHDRAW_KEYS allows keys that may withdraw, for example kraken:master)"
        )
    return usable


def _disable(store: FollowerStore, checked: CheckedKey) -> None:
    store.set_status(
        checked.broker, FollowerId(checked.account), FollowerStatus.DISABLED, actor=ACTOR, reason=checked.message
    )


def _bring_back(store: FollowerStore, checked: CheckedKey, announce: Callable[[str], None]) -> None:
    """Enable the follower again if this check disabled it. The decision of an operator or a broker is kept."""
    status = store.undo_disabled(checked.broker, FollowerId(checked.account), disabled_by=ACTOR, reason=BACK)
    if status is not None:
        announce(f"{checked.broker.value}: follower {checked.account} is {status.value} again: {BACK}")
