"""Lends the master's key to the workers only if it opens the account in which the strategy holds positions.

With the key of another account, the strategy would sell coins there that it did not buy, and look up and send again
orders that another account has. So the earlier key stays, and nothing is traded, until an operator has acted.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine

from services.strategy_trader.repeat import pause_before_start
from shared.actions.context import BrokerAccess
from shared.actions.key_check import connected
from shared.brokers.errors import BrokerError
from shared.brokers.known_orders import has_order
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.identity import Broker, MasterAccount, mailbox_of_master
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lent_keys import note_lent_key
from shared.observability.vitals import Duty
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers.master_key_rows import forget_master_key
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys
from shared.persistence.strategy.last_order import last_strategy_order
from shared.persistence.traders import TraderStore

log = structlog.get_logger()


def is_engaged(engine: Engine, broker: Broker, account: MasterAccount) -> bool:
    """Whether the strategy has an open position, or anything that is not ended yet. Raises DatabaseUnavailable."""
    trader, orders = TraderStore(engine).of(broker, account), StrategyBooks(engine, broker, account)
    return bool(trader.open_positions() or trader.unfinished() or orders.under_way())


def take_key_back(engine: Engine, broker: Broker, account: MasterAccount) -> None:
    """Delete the key of an account that is not traded any more, if no order needs it. Raises DatabaseUnavailable."""
    if not is_engaged(engine, broker, account) and forget_master_key(engine, broker, account):
        log.info("the stored key of the master was deleted, because the account is not traded")


@dataclass(frozen=True, slots=True)
class KeyLoan:
    """The key of one master account, which the workers of its broker shall use."""

    access: BrokerAccess
    engine: Engine
    keys: MasterKeys
    broker: Broker
    account: MasterAccount
    credentials: Credentials

    async def lend(self, stopping: asyncio.Event, duty: Duty) -> bool:
        """Store the key as soon as nothing speaks against it. False: `stopping` was set before."""
        failures = 0
        while not stopping.is_set():
            duty.worked()
            try:
                why = await self.why_not()
                if not why:
                    await self._note()
                    await asyncio.to_thread(self.keys.keep, self.broker, self.account, self.credentials)
            except (BrokerError, RedisError, DatabaseUnavailable, OSError) as error:
                why = f"the account of the key was not compared: {error or type(error).__name__}"
            await self._report(why)
            if not why:
                return True
            failures += 1
            await pause_before_start(failures, stopping, duty)
        return False

    async def why_not(self) -> str:
        """Why the key must not be used now; empty: it may be. Raises BrokerError, RedisError, DatabaseUnavailable."""
        earlier = await asyncio.to_thread(self._earlier)
        if earlier is not None and key_hash(earlier.api_key) == key_hash(self.credentials.api_key):
            return ""
        if not await asyncio.to_thread(is_engaged, self.engine, self.broker, self.account) or await self._is_same(
            earlier
        ):
            return ""
        return (
            f"the key of {self.account} opens another account than the one in which the strategy has open positions or "
            "orders, or one that could not be shown to be the same: set a key of the earlier account until they are "
            "closed"
        )

    def _earlier(self) -> Credentials | None:
        """The stored key. None: there is none, or it does not open."""
        mailbox = mailbox_of_master(self.account)
        found = self.keys.of_mailboxes(self.broker, [mailbox]).get(mailbox)
        return found if isinstance(found, Credentials) else None

    async def _is_same(self, earlier: Credentials | None) -> bool:
        last = await asyncio.to_thread(last_strategy_order, self.engine, self.broker, self.account)
        async with connected(self.access, self.broker, self.credentials) as connection:
            account = connection.account(self.credentials)
            before = None if earlier is None else await _identity(connection.account(earlier))
            now = await _identity(account)
            if before is not None and now is not None:
                return before == now
            return last is not None and await has_order(account, last.broker_order_id, last.symbol)

    async def _note(self) -> None:
        async with open_redis(self.access.redis_of(self.broker).url) as redis:
            keys, mailbox = BrokerKeys(self.broker), mailbox_of_master(self.account)
            await note_lent_key(redis, keys, mailbox, self.credentials)

    async def _report(self, why: str) -> None:
        """Raise or end the finding. A Redis that does not answer gets it with the next try."""
        if why:
            log.warning("the strategy does not trade with this key", reason=why)
        with contextlib.suppress(RedisError, OSError):
            async with open_redis(self.access.redis_of(self.broker).url) as redis:
                alerts = Alerts(redis, BrokerKeys(self.broker))
                if why:
                    await alerts.sound(AlertKind.TRADED_ACCOUNT, self.account, why)
                else:
                    await alerts.clear(AlertKind.TRADED_ACCOUNT, self.account)


async def _identity(account: BrokerAccount) -> str | None:
    """The broker's own id of the account. None: it reports none, or refuses the key, which may be an old one."""
    try:
        return (await account.key_permissions()).identity
    except BrokerError:
        return None
