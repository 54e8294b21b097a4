"""Finds out whether a new key of a follower opens the same account as the old one.

What was copied belongs to the account of the old key. With a key of another account, exits would sell coins that were
never copied.
"""

import asyncio
from typing import Final

from redis.exceptions import RedisError

from shared.actions.context import ActionContext, BrokerAccess
from shared.actions.key_check import ask_about_keys, connected, key_of_follower
from shared.brokers.errors import BrokerError, InvalidNonce, NotVisibleYet, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.persistence.followers.environment import JudgeKey, KeyDoubt
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
    name, where = record.follower_id, record.broker.value
    if record.identity is not None and identity is not None:
        return None if record.identity == identity else KeyDoubt(other_account(record.broker, name))
    order = context.targets.last_order(record.broker, name)
    if order is None:
        return None
    if not ask:
        return KeyDoubt(f"whether the new key of follower {name} opens the same account at {where} was not checked")
    try:
        knows = asyncio.run(_knows_order(context.access, record.broker, credentials, order))
    except (BrokerError, RedisError, OSError) as error:
        text = f"{where} could not be asked whether the new key of follower {name} opens the same account: {error}"
        return KeyDoubt(text, answered=False)
    if knows:
        return None
    return KeyDoubt(
        f"the new key of follower {name} cannot read order {order.broker_order_id} of the old key at {where}, so it may "
        "open another account"
    )


def judge_keys(context: ActionContext) -> JudgeKey:
    """The check of changed keys of the environment, which asks the broker."""

    def judge(record: FollowerRecord, credentials: Credentials) -> KeyDoubt | None:
        asked = key_of_follower(context, record.broker, record.follower_id, credentials)
        (found,) = asyncio.run(ask_about_keys(context.access, [asked]))
        return account_doubt(context, record, credentials, found.identity)

    return judge


async def _knows_order(access: BrokerAccess, broker: Broker, credentials: Credentials, order: PlacedOrder) -> bool:
    async with connected(access, broker, credentials) as connection:
        return await knows_order(connection.account(credentials), order)


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
        await account.order(order.broker_order_id, order.symbol)
    except (NotVisibleYet, Rejected):
        return False
    return True
