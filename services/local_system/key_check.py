"""Ask the brokers what keys may do: accounts with their keys in, one `CheckedKey` each out. Nothing is changed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError, InvalidNonce, KeyRefused
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, profile_of
from shared.config import Settings
from shared.domain.accounts.credentials import Credentials, usual_form
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict, judge_key
from shared.domain.identity import Broker
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS, open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner

AT_ONCE: Final = 16
LONGEST_REQUEST_SECONDS: Final = 5.0
NONCE_TRIES: Final = 3
TELL_TRIES: Final = 3
TELL_PAUSE_SECONDS: Final = 0.5
MASTER: Final = "master"


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A key to ask about. `allowed`: it may withdraw, by name."""

    broker: Broker
    account: str
    role: str
    credentials: Credentials
    allowed: bool


def master_keys(settings: Settings, brokers: Sequence[Broker]) -> list[AccountKey]:
    """The masters' keys that the settings have."""
    found = []
    for broker in brokers:
        credentials = settings.master_credentials(broker)
        if credentials is not None:
            found.append(AccountKey(broker, MASTER, MASTER, credentials, settings.allows_withdraw(broker, MASTER)))
    return found


async def check_keys(settings: Settings, keys: Sequence[AccountKey], *, all_paper: bool = False) -> list[CheckedKey]:
    """Ask for every key, brokers side by side; in the order of `keys`. `all_paper`: none of them touches real money."""
    brokers = {key.broker for key in keys}
    results = await asyncio.gather(
        *(_check_at(settings, broker, [key for key in keys if key.broker is broker], all_paper) for broker in brokers)
    )
    found = {(each.broker, each.role, each.account): each for result in results for each in result}
    return [found[key.broker, key.role, key.account] for key in keys]


async def _check_at(
    settings: Settings, broker: Broker, keys: Sequence[AccountKey], all_paper: bool
) -> list[CheckedKey]:
    async with open_redis(settings.redis_url_for(broker), answer_seconds=COMMAND_ANSWER_SECONDS) as redis:
        connection = connect(
            broker,
            base_url=settings.base_url(broker),
            nonces=RedisNonceSource(ScriptRunner(redis), BrokerKeys(broker)),
            proxy=settings.proxy(broker),
            request_timeout_seconds=min(settings.request_timeout_seconds, LONGEST_REQUEST_SECONDS),
            markets_key=keys[0].credentials,
        )
        try:
            await connection.open()
        except BrokerError as error:
            return [_not_checked(key, error) for key in keys]
        places = asyncio.Semaphore(AT_ONCE)

        async def check(key: AccountKey) -> CheckedKey:
            async with places:
                return await _check(connection, key, all_paper)

        try:
            return list(await asyncio.gather(*(check(key) for key in keys)))
        finally:
            await connection.close()


async def _check(connection: BrokerConnection, key: AccountKey, all_paper: bool) -> CheckedKey:
    try:
        permissions = await _ask_until_told(connection, key)
    except KeyRefused as error:
        return _checked(key, KeyVerdict.REFUSED, f"{key.broker.value} refuses the key: {error}{_unlike(key)}")
    except (BrokerError, RedisError, OSError) as error:
        return _not_checked(key, error)
    verdict, message = judge_key(
        may_trade=permissions.may_trade,
        may_withdraw=permissions.may_withdraw,
        is_paper=all_paper or key.credentials.paper,
        allowed=key.allowed,
    )
    if verdict is KeyVerdict.MAY_WITHDRAW and not permissions.told:
        message = f"{not_told(key.broker)}: it counts as one that may withdraw; try again, or allow it by name"
    return _checked(key, verdict, message, told=permissions.told)


async def _ask_until_told(connection: BrokerConnection, key: AccountKey) -> KeyPermissions:
    permissions = await _ask(connection, key)
    for _ in range(TELL_TRIES - 1):
        if permissions.told:
            break
        # A moment's trouble at the broker must not decide over a key.
        await asyncio.sleep(TELL_PAUSE_SECONDS)
        permissions = await _ask(connection, key)
    return permissions


async def _ask(connection: BrokerConnection, key: AccountKey) -> KeyPermissions:
    account = connection.account(key.credentials)
    for _ in range(NONCE_TRIES - 1):
        try:
            return await account.key_permissions()
        except InvalidNonce:
            # A running process uses the key, too.
            continue
    return await account.key_permissions()


def not_told(broker: Broker) -> str:
    """What there is to say of a key whose `told` is false."""
    return f"{broker.value} did not say what the key may do, but answered with errors (asked {TELL_TRIES} times)"


def _not_checked(key: AccountKey, error: Exception) -> CheckedKey:
    return _checked(key, KeyVerdict.NOT_CHECKED, f"{key.broker.value} could not be asked: {error}{_unlike(key)}")


def _unlike(key: AccountKey) -> str:
    """Where the key differs from the usual form of its broker's keys: perhaps it was cut, or is another broker's."""
    unlike = usual_form(profile_of(key.broker).keys, key.broker, key.credentials)
    return f"; {unlike}" if unlike else ""


def _checked(key: AccountKey, verdict: KeyVerdict, message: str, *, told: bool = True) -> CheckedKey:
    return CheckedKey(
        broker=key.broker, account=key.account, role=key.role, verdict=verdict, message=message, told=told
    )
