"""Performs one run of the demo: it starts the system, lets a person trade at each broker, compares and stops."""

import asyncio
import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import stamina
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from services.demo.as_they_are import IN_DEMO
from services.demo.figures import Figures, Latencies
from services.demo.one_broker import BrokerDemo
from services.demo.view import fills_table
from services.local_system import lock
from services.local_system.errors import LocalSystemError
from services.local_system.system import LocalSystem
from shared.config import Settings, load_settings
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_redis
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import FillReport, Reports

WARM_UP_SECONDS = 300.0
SETTLE_SECONDS = 300.0
POLL_SECONDS = 0.25
LIVE_ROWS = 12
AWAY = (DatabaseUnavailable, RedisError, OSError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
"""A process that was killed and comes back."""

DemoResult = tuple[dict[Broker, Figures], Latencies]
"""The figures of each broker, and the latencies of all copies."""


class Demo:
    """`brokers` trade side by side, each with its own master, followers, processes and queue."""

    _who_trades = "the masters trade now, as a person would"

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        followers: int,
        orders: int,
        candles: Path | None,
        seed: int,
        console: Console,
    ) -> None:
        self._brokers = tuple(brokers)
        self._followers = followers
        self._orders = orders
        self._candles = candles
        self._seed = seed
        self._console = console
        self._parts: list[BrokerDemo] = []

    async def run(self, *, keep: bool, stay: Callable[[DemoResult], None] | None = None) -> DemoResult:
        """Start everything with the API, trade, wait until all is settled, compare.

        `stay` is called with the result. Then everything goes on running until Ctrl-C. Without it everything is stopped
        at once. The data are deleted then, unless they are to be kept, or something went wrong.
        """
        home = load_settings().home.absolute() / "demo"
        lock.delete_data(home)
        configured = load_settings(home=home)
        # Servers and a key of its own: a demo leaves no trace in a real installation.
        settings = configured.model_copy(
            update={"redis_url": None, "database_url": None, "configured_secret_key": None}
        )
        try:
            async with self._system(settings) as system:
                if system.api_url is not None:
                    self._announce(f"the API is at {system.api_url}; this command makes a token for it:")
                    self._announce(f"NIJA_HOME={shlex.quote(str(home))} nija tokens add walk --role read")
                result = await self._trade(system)
                if stay is not None:
                    stay(result)
                    self._announce("everything goes on running; Ctrl-C stops it")
                    # The demo has its result, so this Ctrl-C is a normal end.
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
        except asyncio.CancelledError:
            self._leave(home, keep=keep)
            raise
        except BaseException:
            self._console.print(f"what happened is in {home / 'logs'}", style="dim")
            raise
        self._leave(home, keep=keep)
        return result

    def _system(self, settings: Settings) -> LocalSystem:
        return LocalSystem(
            settings,
            brokers=self._brokers,
            paper=True,
            seed=self._seed,
            candles=self._candles,
            api=True,
            prepare=self._prepare,
            announce=self._announce,
        )

    def _leave(self, home: Path, *, keep: bool) -> None:
        """When the system has stopped: at the end, or interrupted."""
        if keep:
            self._console.print(f"kept: {home}", style="dim")
        else:
            lock.delete_data(home)

    def _announce(self, line: str) -> None:
        self._console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)

    async def _prepare(self, system: LocalSystem) -> Mapping[str, str]:
        """Accounts at the paper brokers; the followers into the database, the masters into the environment."""
        variables: dict[str, str] = {}
        with _engine(system) as engine:
            store = FollowerStore(engine, SecretBox(system.settings.secret_key))
            for broker in self._brokers:
                part = await BrokerDemo.prepare(
                    broker,
                    system.paper_urls[broker],
                    store,
                    followers=self._followers,
                    orders=self._orders,
                    seed=self._seed,
                    specials=IN_DEMO,
                )
                self._parts.append(part)
                variables |= part.master_variables()
        names = ", ".join(broker.value for broker in self._brokers)
        count = f"{self._followers} plain and {len(IN_DEMO)} special followers"
        self._announce(f"{count} at each of {names} imported, their keys encrypted")
        return variables

    async def _trade(self, system: LocalSystem) -> DemoResult:
        redis = open_redis(system.settings.redis_url_for(self._brokers[0]))
        try:
            with _engine(system) as engine:
                await self._warm_up(redis)
                await self._place_and_watch(engine)
                async for attempt in stamina.retry_context(on=AWAY, timeout=60, wait_max=1):
                    with attempt:
                        disturbed = any(process.restarts for process in system.processes)
                        figures = {
                            part.broker: await part.figures(engine, redis, disturbed=disturbed) for part in self._parts
                        }
                        latency_ms = Reports(engine).latency(limit=1_000_000)
                await self._finish(system, engine)
            return figures, latency_ms
        finally:
            await redis.aclose()

    async def _finish(self, system: LocalSystem, engine: Engine) -> None:
        """Do what is left to do while the servers still run."""

    async def _warm_up(self, redis: Redis) -> None:
        """Wait until the masters are watched and every follower's account has been read."""
        deadline = time.monotonic() + WARM_UP_SECONDS
        wanted, known = sum(part.followers for part in self._parts), 0
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("reading the followers' accounts", total=wanted)
            while known < wanted:
                with contextlib.suppress(RedisError):  # it was killed: the supervisor brings it back
                    known = sum([await part.known_accounts(redis) for part in self._parts])
                    progress.update(task, completed=known)
                if time.monotonic() > deadline:
                    raise LocalSystemError(f"only {known} of {wanted} accounts were read in time")
                await asyncio.sleep(POLL_SECONDS)
        self._announce(f"{wanted} accounts read; {self._who_trades}")

    async def _place_and_watch(self, engine: Engine) -> None:
        """Place the orders, one a second at each broker, and show the copies arriving until all are settled."""
        reports = Reports(engine)
        title = f"{self._orders} orders of each master, {self._parts[0].followers} followers each"
        trading = asyncio.gather(*(part.trade(btc_only=self._candles is not None) for part in self._parts))
        deadline: float | None = None
        fills: list[FillReport] = []
        labels: dict[str, str] = {}
        try:
            with Live(console=self._console, refresh_per_second=4, transient=True) as live:
                while True:
                    with contextlib.suppress(DatabaseUnavailable):
                        fills = await asyncio.to_thread(reports.fills, limit=self._orders * len(self._parts) * 50)
                    labels = {fill_id: label for part in self._parts for fill_id, label in part.labels.items()}
                    live.update(fills_table(fills[:LIVE_ROWS], labels, title))
                    if trading.done():
                        trading.result()
                        deadline = deadline or time.monotonic() + SETTLE_SECONDS
                        if all(part.is_settled(_of(fills, part.broker)) for part in self._parts):
                            break
                        if time.monotonic() > deadline:
                            raise LocalSystemError("not every copy was settled in time")
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            trading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await trading
            self._console.print(fills_table(fills, labels, title))


@contextlib.contextmanager
def _engine(system: LocalSystem) -> Iterator[Engine]:
    engine = open_engine(system.settings.required_database_url(), pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()


def _of(fills: Sequence[FillReport], broker: Broker) -> list[FillReport]:
    return [fill for fill in fills if fill.broker is broker]
