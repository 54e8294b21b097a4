"""Finds out whether a new key of a follower opens the same account as the old one.

What was copied belongs to the account of the old key. With a key of another account, exits would sell coins that were
never copied.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis.exceptions import RedisError

from shared.actions.context import ActionContext, BrokerAccess
from shared.actions.key_check import ask_about_keys, connected, key_of_follower, within_limits
from shared.brokers.errors import BrokerError, InvalidNonce, NotVisibleYet, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.persistence.followers.environment import JudgeKeys, KeyDoubt
from shared.persistence.followers.records import FollowerRecord, other_account
from shared.persistence.ledger.targets import PlacedOrder

ORDER_TRIES: Final = 3


def account_doubt(
    context: ActionContext, record: FollowerRecord, credentials: Credentials, identity: str | None, *, ask: bool = True
) -> KeyDoubt | None:
    """Why the new key may not be taken over. None: it opens the same account, or nothing was ever ordered with the old.

    `identity`: that of the new key, as the broker reported it. `ask`: where the identities cannot be compared, ask the
    broker for an order of the old key. A key that can read the order opens the same account. Raises DatabaseUnavailable.
    """
    return _doubts(context, [_NewKey(record, credentials, identity)], ask=ask)[0]


def judge_keys(context: ActionContext) -> JudgeKeys:
    """The check of changed keys of the environment, which asks the brokers."""

    def judge(changed: Sequence[tuple[FollowerRecord, Credentials]]) -> list[KeyDoubt | None]:
        asked = [
            key_of_follower(context, record.broker, record.follower_id, credentials) for record, credentials in changed
        ]
        found = asyncio.run(ask_about_keys(context.access, asked))
        new = [
            _NewKey(record, credentials, each.identity)
            for (record, credentials), each in zip(changed, found, strict=True)
        ]
        return _doubts(context, new)

    return judge


@dataclass(frozen=True, slots=True)
class _NewKey:
    """A follower's new key, and the broker's own id of its account. `order`: the last one of the old key."""

    record: FollowerRecord
    credentials: Credentials
    identity: str | None
    order: PlacedOrder | None = None


def _doubts(context: ActionContext, new: Sequence[_NewKey], *, ask: bool = True) -> list[KeyDoubt | None]:
    doubts: dict[int, KeyDoubt] = {}
    by_order: dict[Broker, dict[int, _NewKey]] = {}
    for number, each in enumerate(new):
        record = each.record
        name, where = record.follower_id, record.broker.value
        if record.identity is not None and each.identity is not None:
            if record.identity != each.identity:
                doubts[number] = KeyDoubt(other_account(record.broker, name))
            continue
        order = context.targets.last_order(record.broker, name)
        if order is None:
            if ask and record.identity is not None:
                text = f"{where} did not say which account the new key of follower {name} opens"
                doubts[number] = KeyDoubt(text, answered=False)
        elif not ask:
            text = f"whether the new key of follower {name} opens the same account at {where} was not checked"
            doubts[number] = KeyDoubt(text)
        else:
            by_order.setdefault(record.broker, {})[number] = replace(each, order=order)
    for broker, asked in by_order.items():
        answers = asyncio.run(_ask_for_orders(context.access, broker, list(asked.values())))
        doubts |= {number: doubt for number, doubt in zip(asked, answers, strict=True) if doubt is not None}
    return [doubts.get(number) for number in range(len(new))]


async def _ask_for_orders(access: BrokerAccess, broker: Broker, new: Sequence[_NewKey]) -> list[KeyDoubt | None]:
    """Ask whether each new key can read the last order of the old one, through one connection."""
    try:
        async with connected(access, broker, new[0].credentials) as connection:
            return [await _order_doubt(connection, each) for each in new]
    except (BrokerError, RedisError, OSError) as error:
        return [_not_asked(each.record, error) for each in new]


async def _order_doubt(connection: BrokerConnection, new: _NewKey) -> KeyDoubt | None:
    if new.order is None:
        return None
    try:
        if await knows_order(connection.account(new.credentials), new.order):
            return None
    except (BrokerError, RedisError, OSError) as error:
        return _not_asked(new.record, error)
    return KeyDoubt(
        f"the new key of follower {new.record.follower_id} cannot read order {new.order.broker_order_id} of the old key "
        f"at {new.record.broker.value}, so it may open another account"
    )


def _not_asked(record: FollowerRecord, error: Exception) -> KeyDoubt:
    where, name = record.broker.value, record.follower_id
    text = f"{where} could not be asked whether the new key of follower {name} opens the same account: {error}"
    return KeyDoubt(text, answered=False)


async def knows_order(account: BrokerAccount, order: PlacedOrder) -> bool:
    """Whether the account has the order. Raises BrokerError when the broker does not answer that."""
    for _ in range(ORDER_TRIES - 1):
        try:
            return await _has(account, order)
        except InvalidNonce:
            # A running process uses the key at the same time.
            continue
    return await _has(account, order)


async def _has(account: BrokerAccount, order: PlacedOrder) -> bool:
    try:
        await within_limits(lambda: account.order(order.broker_order_id, order.symbol))
    except (NotVisibleYet, Rejected):
        return False
    return True
