"""Opens what the commands of `nija followers` work with, and asks the brokers whether a key may be used."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from redis import Redis

from services.cli import output
from services.cli.follower_credentials import KeyNotUsable
from services.local_system import lock
from services.local_system.key_check import AccountKey, check_keys
from services.local_system.record import RunRecord, settings_of_running_system
from shared.brokers.registry import profile_of
from shared.config import Settings, load_settings
from shared.domain.accounts.credentials import usual_form
from shared.domain.accounts.key_check import KeyVerdict
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.errors import RedisUnavailable
from shared.messaging.connection.server_check import check_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import Reports
from shared.persistence.schema import check_database

_MOST_SHOWN: Final = 3
"""Names in a line, and lines."""


@dataclass(frozen=True)
class Desk:
    """What every command here works with."""

    settings: Settings
    store: FollowerStore
    reports: Reports
    redis: dict[Broker, Redis]

    def announce(self, broker: Broker) -> None:
        """Make the broker's engines and workers load the list of followers again."""
        self.redis[broker].incr(BrokerKeys(broker).roster)


def desk_settings() -> Settings:
    """The settings of the servers that DATABASE_URL names, else of the nija that runs here. Raises NothingRuns."""
    settings = load_settings()
    return settings if settings.database_url is not None else settings_of_running_system(settings)


@contextmanager
def open_desk(*, announcing: set[Broker] | None = None, keys: bool = False) -> Iterator[Desk]:
    """Open the database; `announcing`: and the Redis of these brokers; `keys`: and the secret key."""
    settings = desk_settings()
    with ExitStack() as stack:
        engine = open_engine(settings.required_database_url(), pool_size=1)
        stack.callback(engine.dispose)
        check_database(engine)
        redis: dict[Broker, Redis] = {}
        for broker in announcing or ():
            redis[broker] = stack.enter_context(redis_that_hears(settings, broker))
        box = SecretBox(settings.secret_key) if keys else None
        yield Desk(settings, FollowerStore(engine, box), Reports(engine), redis)


def redis_that_hears(settings: Settings, broker: Broker) -> Redis:
    """The Redis from which the stages of a broker hear of a change. Raises RedisUnavailable, RedisUnusable.

    It is checked before a change: without it the running stages would not hear of the change, so none is made.
    """
    url = settings.redis_url_for(broker)
    try:
        check_redis(settings.redis_setting_for(broker), url, [broker])
    except RedisUnavailable as error:
        raise RedisUnavailable(f"{error}; nothing was changed") from None
    return open_blocking_redis(url)


def unusable_keys(desk: Desk, rows: Sequence[NewFollower]) -> dict[int, str]:
    """Row → why its key may not be used. A key that could not be checked is reported on stderr and accepted."""
    asked = [
        AccountKey(
            row.broker,
            row.follower_id,
            "follower",
            row.credentials,
            row.withdraw_allowed or desk.settings.allows_withdraw(row.broker, row.follower_id),
        )
        for row in rows
    ]
    with output.progress("asking the broker what the key may do"):
        # With a paper system no key touches real money.
        holder = lock.holder(desk.settings.home)
        all_paper = holder is not None and RunRecord(desk.settings.home).is_paper()
        found = asyncio.run(check_keys(desk.settings, asked, all_paper=all_paper))
    not_checked: dict[str, list[str]] = {}
    for each in found:
        if each.verdict is KeyVerdict.NOT_CHECKED:
            not_checked.setdefault(each.message, []).append(each.account)
    for message, accounts in islice(not_checked.items(), _MOST_SHOWN):
        names = ", ".join(accounts[:_MOST_SHOWN]) + (", …" if len(accounts) > _MOST_SHOWN else "")
        sys.stderr.write(f"nija: the key of {names} was not checked ({message}); see `nija check keys`\n")
    return {row.row: each.message for row, each in zip(rows, found, strict=True) if not each.usable}


def require_usable(desk: Desk, follower: NewFollower, *, ask: bool = True) -> None:
    """Raise KeyNotUsable when the key may not be used. `ask` False: only report its form where it is unusual."""
    if not ask:
        if unlike := usual_form(profile_of(follower.broker).keys, follower.broker, follower.credentials):
            sys.stderr.write(f"nija: {unlike}\n")
        return
    for problem in unusable_keys(desk, [follower]).values():
        raise KeyNotUsable(problem)
