"""Simulates a master account whose processes may die at each boundary, and checks what they published.

Redis and PostgreSQL are real; the broker is a fake behind the broker port. Each call to one of the three has a boundary
before it and a boundary after it. A process that dies is a `Watch` that is discarded after an exception at a boundary.
What was called before that boundary has happened.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import wraps
from itertools import count
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch
from shared.domain.accounts.credentials import Credentials
from shared.domain.amounts import ZERO
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.ledger.master_fills import MasterFills
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices

# No other test uses this broker, so its keys and its sequence belong to this module.
KEYS = BrokerKeys(Broker.OKX)
PRICES = {"BTC": Decimal(50000), "ETH": Decimal(2500)}
START = {"USD": Decimal(100000), "BTC": Decimal("0.3")}
_NAMES = count(1)


class Died(Exception):
    """The process ended at this boundary."""


@dataclass
class Boundaries:
    """Counts the crossings between a process and the outside. At the chosen boundary the process dies."""

    die_at: int | None = None
    instead: Callable[[], object] | None = None
    """What happens at that boundary instead of the death of the process."""
    crossed: int = 0

    def cross(self) -> None:
        self.crossed += 1
        if self.crossed == self.die_at:
            if self.instead is None:
                raise Died(f"at boundary {self.crossed}")
            self.instead()


class Watched:
    """Wraps something outside the process. Each call crosses one boundary before it and one after it."""

    def __init__(self, inner: Any, boundaries: Boundaries) -> None:
        self._inner = inner
        self._boundaries = boundaries

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not callable(attribute) or name in ("instruments", "account"):
            return attribute
        if asyncio.iscoroutinefunction(attribute):

            @wraps(attribute)
            async def called(*arguments: Any, **named: Any) -> Any:
                self._boundaries.cross()
                result = await attribute(*arguments, **named)
                self._boundaries.cross()
                return result

            return called

        @wraps(attribute)
        def called_in_thread(*arguments: Any, **named: Any) -> Any:
            self._boundaries.cross()
            result = attribute(*arguments, **named)
            self._boundaries.cross()
            return result

        return called_in_thread


class WatchedRedis(Redis):
    """A real client. Each command crosses two boundaries."""

    boundaries: Boundaries

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        self.boundaries.cross()
        result = await super().execute_command(*arguments, **options)
        self.boundaries.cross()
        return result


class TradingAccount(FakeAccount):
    """A fake account that can trade while its balances are read."""

    during_reading: list[Callable[[], object]]
    is_searching: bool

    async def balances(self) -> Any:
        balances = await super().balances()
        if self.during_reading:
            self.during_reading.pop(0)()
        return balances


@dataclass
class World:
    """One account, one ledger and one stream, with processes that start and end."""

    redis_url: str
    engine: Engine
    name: MasterAccount = field(default_factory=lambda: MasterAccount(f"master-{next(_NAMES)}"))

    def __post_init__(self) -> None:
        self.account = TradingAccount(dict(START), dict(PRICES), fill_prefix=f"{self.name}-")
        self.account.during_reading = []
        self.account.is_searching = False
        self.ledger = MasterFills(self.engine)
        self.base = self.ledger.last_sequence(KEYS.broker)
        self.started_at = self.account.clock

    @asynccontextmanager
    async def process(self, die_at: int | None = None) -> AsyncIterator[tuple[Watch, Boundaries]]:
        """Start a process with its own connections. It dies at boundary `die_at`."""
        boundaries = Boundaries(die_at)
        redis = WatchedRedis.from_url(self.redis_url)
        redis.boundaries = boundaries
        connection = FakeConnection(Watched(self.account, boundaries), self.account.prices, broker=KEYS.broker)
        master = Master(
            name=self.name,
            credentials=Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s")),
            connect=lambda: Watched(connection, boundaries),
            ledger=Watched(self.ledger, boundaries),  # type: ignore[arg-type]
            redis=redis,
            keys=KEYS,
            report=Report(redis, KEYS, self.name, "process", lambda: self.account.clock),
            price_lists=LivePrices(self.account.prices, lambda: self.account.clock),
            # No time passes here, so no purchase is held back. Late purchases have their own test.
            late_purchase_seconds=0,
            now=lambda: self.account.clock,
        )
        try:
            yield Watch(master), boundaries
        finally:
            boundaries.die_at = None
            await redis.aclose()

    async def run(
        self, die_at: int | None = None, polls: int = 1, between: Sequence[Callable[[], object]] = ()
    ) -> bool:
        """Start a process and let it poll, and once more after each step of `between`. Return whether it died."""
        left = list(between)
        async with self.process(die_at) as (watch, _):
            try:
                await watch.begin()
                for _ in range(polls):
                    await watch.poll()
                while left:
                    left.pop(0)()
                    await watch.poll()
            except Died:
                for step in left:
                    step()
                return True
        return False

    async def published(self) -> list[MasterFill]:
        async with Redis.from_url(self.redis_url) as redis:
            entries = await read_fills(redis, KEYS, self.base, 1000)
        fills = [entry.fill for entry in entries]
        assert all(isinstance(fill, MasterFill) for fill in fills)
        return [fill for fill in fills if isinstance(fill, MasterFill)]

    async def settle(self) -> list[MasterFill]:
        """Show all hidden fills, let an undisturbed process work, and return the fills in the stream."""
        self.account.hidden.clear()
        assert not await self.run(polls=2)
        return await self.published()


def check(world: World, published: list[MasterFill], ever_hidden: set[str]) -> None:
    executed = world.account.fills
    assert [fill.sequence for fill in published] == list(range(world.base + 1, world.base + 1 + len(executed)))
    assert sorted(fill.fill_id for fill in published) == sorted(fill.fill_id for fill in executed)
    in_order = [fill.fill_id for fill in executed if fill.fill_id not in ever_hidden]
    assert [fill.fill_id for fill in published if fill.fill_id not in ever_hidden] == in_order
    check_positions(published)
    check_equities(world, published, ever_hidden)


def check_positions(published: list[MasterFill]) -> None:
    positions: dict[str, Decimal] = {}
    for fill in published:
        asset = fill.symbol.base
        before = positions.get(asset, ZERO)
        assert fill.traded_position_before == before
        if fill.side is Side.BUY:
            assert fill.fraction_closed == 0
            positions[asset] = before + fill.quantity
        else:
            closed = min(fill.quantity, before)
            assert fill.fraction_closed == (closed / before if before else ZERO)
            positions[asset] = before - closed


def check_equities(world: World, published: list[MasterFill], ever_hidden: set[str]) -> None:
    # Prices do not change, so only fees change the equity.
    worth = sum((total * PRICES.get(currency, Decimal(1)) for currency, total in START.items()), ZERO)
    by_id = {fill.fill_id: fill for fill in published}
    # A fill that was hidden cannot be unwound. The equity may then differ by the fee of that fill.
    tolerance = sum((fill.fee for fill in world.account.fills if fill.fill_id in ever_hidden), ZERO)
    for executed in world.account.fills:
        assert abs(by_id[executed.fill_id].master_equity_before - worth) <= tolerance
        worth -= executed.fee
