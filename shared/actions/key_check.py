"""Asks the brokers what keys may do, and returns a verdict for each key. It changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from redis.exceptions import RedisError

from shared.actions.context import FOLLOWER, MASTER, ActionContext, BrokerAccess
from shared.brokers.errors import BrokerError, InvalidNonce, KeyRefused, RateLimited
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import Credentials, usual_form
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict, judge_key
from shared.domain.identity import Broker, FollowerId
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS, open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner

ACTOR: Final = "key check"
"""Recorded as the actor of changes that follow from a check."""
AT_ONCE: Final = 16
LONGEST_REQUEST_SECONDS: Final = 5.0
NONCE_TRIES: Final = 3
ANSWER_TRIES: Final = 3
ANSWER_PAUSE_SECONDS: Final = 0.5
LIMIT_TRIES: Final = 4
LONGEST_LIMIT_WAIT_SECONDS: Final = 10.0
"""A limit that lasts longer than this, for example a ban of the address, is not waited for."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A key to ask about. `allowed`: the operator accepts that it may withdraw."""

    broker: Broker
    account: str
    role: str
    credentials: Credentials
    allowed: bool


def keys_of_masters(context: ActionContext, brokers: Iterable[Broker]) -> list[AccountKey]:
    """The keys of the masters at these brokers, as far as they are set here."""
    return [
        AccountKey(broker, MASTER, MASTER, context.masters[broker], context.may_withdraw(broker, MASTER))
        for broker in brokers
        if broker in context.masters
    ]


def key_of_follower(
    context: ActionContext, broker: Broker, follower_id: FollowerId, credentials: Credentials, *, allowed: bool = False
) -> AccountKey:
    """The key of a follower. `allowed`: it may withdraw, even if no setting says so."""
    allowed = allowed or context.may_withdraw(broker, follower_id)
    return AccountKey(broker, follower_id, FOLLOWER, credentials, allowed)


async def ask_about_keys(access: BrokerAccess, keys: Sequence[AccountKey]) -> list[CheckedKey]:
    """Return a verdict for each key, in the order of `keys`. All brokers are asked at the same time.

    A broker or a Redis that does not answer leads to the verdict *not checked* and to no error.
    """
    brokers = {key.broker for key in keys}
    results = await asyncio.gather(
        *(_ask_at(access, broker, [key for key in keys if key.broker is broker]) for broker in brokers)
    )
    found = {(each.broker, each.role, each.account): each for result in results for each in result}
    return [found[key.broker, key.role, key.account] for key in keys]


@asynccontextmanager
async def connected(access: BrokerAccess, broker: Broker, key: Credentials) -> AsyncIterator[BrokerConnection]:
    """Yield an open connection. `key`: for a broker that shows its markets to key holders only. Raises BrokerError."""
    async with open_redis(access.redis_of(broker).url, answer_seconds=COMMAND_ANSWER_SECONDS) as redis:
        connection = connect(
            broker,
            base_url=access.base_urls.get(broker),
            nonces=RedisNonceSource(ScriptRunner(redis), BrokerKeys(broker), access.nonces_above.get(broker, 0)),
            proxy=access.proxies.get(broker),
            request_timeout_seconds=min(access.request_timeout_seconds, LONGEST_REQUEST_SECONDS),
            markets_key=key,
        )
        await within_limits(connection.open)
        try:
            yield connection
        finally:
            await connection.close()


async def within_limits(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Return the answer to a request that changes nothing. A request that the broker's rate limit refuses is repeated.

    Raises what `ask` raises: RateLimited only if the limit lasts too long, or after `LIMIT_TRIES` requests.
    """
    for _ in range(LIMIT_TRIES - 1):
        try:
            return await ask()
        except RateLimited as error:
            if error.retry_after_seconds > LONGEST_LIMIT_WAIT_SECONDS:
                raise
            await asyncio.sleep(error.retry_after_seconds)
    return await ask()


async def _ask_at(access: BrokerAccess, broker: Broker, keys: Sequence[AccountKey]) -> list[CheckedKey]:
    places = asyncio.Semaphore(AT_ONCE)
    try:
        async with connected(access, broker, keys[0].credentials) as connection:

            async def check(key: AccountKey) -> CheckedKey:
                async with places:
                    return await _check(connection, key, all_paper=access.all_paper)

            return list(await asyncio.gather(*(check(key) for key in keys)))
    except BrokerError as error:
        return [_not_checked(key, error) for key in keys]


async def _check(connection: BrokerConnection, key: AccountKey, *, all_paper: bool) -> CheckedKey:
    try:
        permissions = await _ask_until_answered(connection, key)
    except KeyRefused as error:
        return _checked(key, KeyVerdict.REFUSED, f"{key.broker.value} refuses the key: {error}{_unlike(key)}")
    except (BrokerError, RedisError, OSError) as error:
        return _not_checked(key, error)
    if permissions.unsupported:
        found = _checked(key, KeyVerdict.UNSUPPORTED, permissions.unsupported)
        return found.model_copy(update={"identity": permissions.identity})
    verdict, message = judge_key(
        may_trade=permissions.may_trade,
        may_withdraw=permissions.may_withdraw,
        is_paper=all_paper or key.credentials.paper,
        allowed=key.allowed,
    )
    if verdict is KeyVerdict.MAY_WITHDRAW and not permissions.answered:
        message = f"{no_answer(key.broker)}: it counts as one that may withdraw; try again, or allow it by name"
    checked = _checked(key, verdict, message, answered=permissions.answered)
    return checked.model_copy(update={"identity": permissions.identity})


async def _ask_until_answered(connection: BrokerConnection, key: AccountKey) -> KeyPermissions:
    permissions = await _ask(connection, key)
    for _ in range(ANSWER_TRIES - 1):
        if permissions.answered:
            break
        # A short failure of the broker must not decide about a key.
        await asyncio.sleep(ANSWER_PAUSE_SECONDS)
        permissions = await _ask(connection, key)
    return permissions


async def _ask(connection: BrokerConnection, key: AccountKey) -> KeyPermissions:
    account = connection.account(key.credentials)
    for _ in range(NONCE_TRIES - 1):
        try:
            return await within_limits(account.key_permissions)
        except InvalidNonce:
            # A running process uses the key at the same time.
            continue
    return await within_limits(account.key_permissions)


def no_answer(broker: Broker) -> str:
    """The text about a key for which the broker returned only errors."""
    return f"{broker.value} did not say what the key may do, but answered with errors (asked {ANSWER_TRIES} times)"


def _not_checked(key: AccountKey, error: Exception) -> CheckedKey:
    return _checked(key, KeyVerdict.NOT_CHECKED, f"{key.broker.value} could not be asked: {error}{_unlike(key)}")


def _unlike(key: AccountKey) -> str:
    """How the key differs from the usual form of its broker's keys. It may be cut off, or belong to another broker."""
    unlike = usual_form(profile_of(key.broker).keys, key.broker, key.credentials)
    return f"; {unlike}" if unlike else ""


def _checked(key: AccountKey, verdict: KeyVerdict, message: str, *, answered: bool = True) -> CheckedKey:
    return CheckedKey(
        broker=key.broker, account=key.account, role=key.role, verdict=verdict, message=message, answered=answered
    )
