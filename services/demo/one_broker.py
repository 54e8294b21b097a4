"""Holds one broker's part of the demo: its accounts, its person, and the progress of its followers."""

import asyncio
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from sqlalchemy import Engine

from services.demo.accounts import MASTER_DOLLARS, DemoAccounts, make_accounts
from services.demo.as_they_are import SpecialFollower
from services.demo.figures import Figures, collect
from services.demo.person import Person, trades_coin_pairs
from services.demo.right_copies import Conditions
from services.demo.scenario import COINS, steps
from services.local_system.paper_accounts import quote_currency
from shared.config import master_prefix
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.messaging.keys import BrokerKeys
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import FillReport

BETWEEN_ORDERS_SECONDS = 1.0


class BrokerDemo:
    """Created when the paper broker runs. The stages start afterwards."""

    def __init__(self, broker: Broker, paper_url: str, accounts: DemoAccounts, orders: int) -> None:
        self.broker = broker
        self.labels: dict[str, str] = {}
        """By id of each execution, what the person intended."""
        self._paper_url = paper_url
        self._accounts = accounts
        self._orders = orders

    @classmethod
    async def prepare(
        cls,
        broker: Broker,
        paper_url: str,
        store: FollowerStore,
        *,
        followers: int,
        orders: int,
        seed: int,
        specials: Sequence[SpecialFollower] = (),
    ) -> "BrokerDemo":
        """Create the accounts at the paper broker and import the followers with encrypted keys."""
        accounts = await make_accounts(broker, paper_url, followers, seed, specials=specials)
        await asyncio.to_thread(store.import_rows, accounts.followers, actor="demo")
        return cls(broker, paper_url, accounts, orders)

    @property
    def paper_url(self) -> str:
        """The address of the paper broker."""
        return self._paper_url

    @property
    def followers(self) -> int:
        """How many there are, special ones included."""
        return len(self._accounts.followers)

    @property
    def follower_ids(self) -> list[FollowerId]:
        """The ids are also the names of their accounts at the paper broker."""
        return [follower.follower_id for follower in self._accounts.followers]

    def master_variables(self) -> Mapping[str, str]:
        """The environment variables with the master's key."""
        prefix, master = master_prefix(self.broker), self._accounts.master
        variables = {
            f"{prefix}_API_KEY": master.api_key.get_secret_value(),
            f"{prefix}_API_SECRET": master.api_secret.get_secret_value(),
        }
        if master.passphrase is not None:
            variables[f"{prefix}_PASSPHRASE"] = master.passphrase.get_secret_value()
        if master.paper:
            variables[f"{prefix}_PAPER"] = "true"
        return variables

    async def known_accounts(self, redis: Redis) -> int:
        """How many accounts of followers have been read; 0 until the master is watched."""
        keys = BrokerKeys(self.broker)
        state = await redis.hget(keys.master, "state")
        return int(await redis.hlen(keys.accounts)) if state == b"watching" else 0

    def person(self) -> Person:
        """Return the person that trades the master account with a key of its own. It is not connected yet."""
        return Person(self.broker, self._paper_url, self._accounts.person, MASTER_DOLLARS)

    async def trade(self, *, btc_only: bool) -> None:
        """Place all orders, one per second."""
        coins = COINS[:1] if btc_only else COINS
        swaps = not btc_only and trades_coin_pairs(self.broker)
        async with self.person() as person:
            for step in steps(self._orders, quote_currency(self.broker), coins, all_in=True, swaps=swaps):
                placed = await person.trade(step)
                self.labels.update(dict.fromkeys(placed.fill_ids, step.label))
                await asyncio.sleep(BETWEEN_ORDERS_SECONDS)

    def is_settled(self, fills: Sequence[FillReport]) -> bool:
        """Whether every execution that the person saw is in the ledger, and no follower has a pending copy of it."""
        counted = {fill.fill_id for fill in fills if fill.followers >= self.followers and not fill.pending}
        return self.labels.keys() <= counted

    async def figures(self, engine: Engine, redis: Redis, *, disturbed: bool) -> Figures:
        """Compare the ledger with the paper broker's own log. `disturbed`: processes were away meanwhile."""
        stored = await redis.hvals(BrokerKeys(self.broker).instruments)
        listed = [Instrument.model_validate_json(each) for each in stored]
        instruments = {each.symbol: each for each in listed}
        conditions = Conditions(disturbed=disturbed)
        return await collect(self.broker, self._paper_url, engine, instruments, self._accounts, conditions)
