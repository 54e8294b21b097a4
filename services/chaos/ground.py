"""Runs the whole system on paper brokers as the ground for chaos, with two processes of each stage that may have them.

ground = Ground([broker], followers=8, seed=1, announce=print)
async with ground.started():
    async with ground.person(broker) as person:
        await ground.trade_round(broker, person)
    await ground.settle(60)
    found = await ground.check()
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import stamina
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.chaos.evidence import DISTURBED, collect_evidence
from services.chaos.invariants import Evidence, Found, check
from services.chaos.plan import MOST_OF_A_KIND
from services.chaos.roster_changes import RosterChanges
from services.demo.accounts import MASTER_DOLLARS, DemoAccounts, make_accounts, quote_currency
from services.demo.as_they_are import SpecialFollower
from services.demo.one_broker import BrokerDemo
from services.demo.person import Person
from services.demo.right_copies import Conditions
from services.demo.run import AWAY
from services.demo.scenario import steps, swap_round
from services.local_system import lock
from services.local_system.errors import LocalSystemError
from services.local_system.process import ProcessSpec
from services.local_system.system import LocalSystem
from shared.config import Settings, load_settings
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_redis
from shared.messaging.connection.epoch import run_id_of
from shared.messaging.keys import BrokerKeys
from shared.observability.heartbeat import age_seconds
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import Reports

CLAIM_SECONDS = 12.0
"""Longer than any request is valid (10 s)."""
PAUSE_SECONDS = CLAIM_SECONDS + 3
"""Long enough that a paused process loses its claims and leases."""
WARM_UP_SECONDS = 120.0
BETWEEN_ORDERS_SECONDS = 0.5
POLL_SECONDS = 0.5
RECONCILE_EVERY_SECONDS = 20.0
ROUND = 4
"""The person's orders from the first buy to the full close."""
NEWEST_FILLS = 20
SPARED = frozenset({"copy_engine", "broker_worker", "master_trader", "bookkeeper"})

_ROWS = text("SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM order_events WHERE outcome IS NOT NULL)")


def data_folder(lane: int = 0) -> Path:
    """The folder in which a system of chaos keeps its data. It is deleted when the next run begins."""
    return load_settings().home.absolute() / (f"chaos-{lane}" if lane else "chaos")


class Ground:
    """One started system, with everything that is needed to trade on it and to examine it. Single use."""

    system: LocalSystem
    engine: Engine
    redis: Redis
    roster_changes: RosterChanges

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        followers: int,
        seed: int,
        announce: Callable[[str], None],
        change: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec,
        lane: int = 0,
        specials: Sequence[SpecialFollower] = (),
    ) -> None:
        """`change` changes how the process of a stage is started. Systems that run side by side need different `lane`s.

        `followers` is the number of plain followers at the start; `specials` are added to them.
        """
        self.brokers = tuple(brokers)
        self._plain = followers
        self._specials = tuple(specials)
        self.followers = followers + len(self._specials)
        self.announce = announce
        self.home = data_folder(lane)
        self._seed = seed
        self._change = change
        self._accounts: dict[Broker, DemoAccounts] = {}

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Start everything, and stop it at the end. Raises LocalSystemError when the system does not start."""
        lock.delete_data(self.home)
        children = 2 if len(self.brokers) == 1 else 1  # there is also a spare of each worker
        settings = load_settings(
            home=self.home,
            claim_seconds=CLAIM_SECONDS,
            worker_children=children,
            # No account is traded by hand here. A repair would be a mistake, and would show as a wrong position.
            reconcile_every_seconds=RECONCILE_EVERY_SECONDS,
            reconcile_repair=True,
        ).model_copy(update={"redis_url": None, "database_url": None, "configured_secret_key": None})
        async with LocalSystem(
            settings,
            brokers=self.brokers,
            paper=True,
            seed=self._seed,
            prepare=self._prepare,
            arrange=self._arrange,
            announce=self.announce,
        ) as self.system:
            with _engine(self.system.settings) as self.engine:
                redis_url = self.system.settings.redis_url_for(self.brokers[0])
                store = FollowerStore(self.engine, SecretBox(self.system.settings.secret_key))
                self.roster_changes = RosterChanges(store, self._accounts, self._plain, redis_url)
                self.redis = open_redis(redis_url, answer_seconds=30)
                try:
                    await self._warm_up()
                    yield
                finally:
                    await self.redis.aclose()

    def clear(self) -> None:
        """Delete the data of this run after the system has stopped. The data of other runs stays."""
        lock.delete_data(self.home)

    def person(self, broker: Broker) -> Person:
        """Return the person that trades the master account of the broker. It is not connected yet."""
        return Person(broker, self.system.paper_urls[broker], self._accounts[broker].person, MASTER_DOLLARS)

    @staticmethod
    async def trade_round(broker: Broker, person: Person, *, all_in: bool = False, swapped: str | None = None) -> None:
        """Buy, add, sell part, sell all. `all_in`: add all the cash.

        `swapped`: instead, buy this coin, exchange half of it for the other one, and sell both.
        """
        quote = quote_currency(broker)
        for step in steps(ROUND, quote, all_in=all_in) if swapped is None else swap_round(quote, swapped):
            await person.trade(step)
            await asyncio.sleep(BETWEEN_ORDERS_SECONDS)

    async def backlog(self, broker: Broker) -> int:
        """Count those of the newest fills that are not copied to every follower yet. If unknown, return the limit.

        The exits of a follower whose key is refused wait for a minute. They do not hold up the trading.
        """
        try:
            fills = await asyncio.to_thread(Reports(self.engine).fills, broker, limit=NEWEST_FILLS)
        except DatabaseUnavailable:
            return NEWEST_FILLS
        may_wait = sum(special.key_is_refused for special in self._specials)
        return sum(1 for fill in fills if fill.pending > may_wait or fill.followers < self.followers)

    async def evidence(self, broker: Broker, conditions: Conditions = DISTURBED) -> Evidence:
        """Return what the ledger, the mailboxes and the broker's own log say now. Raises one of AWAY.

        `conditions`: what excuses special followers.
        It retries for a minute. A server that was killed leaves dead connections behind, and redis-py may notice a dead
        connection of its pool only when it uses it.
        """
        journal = self.system.data_folder / f"{broker.value}.journal"
        async for attempt in stamina.retry_context(on=AWAY, timeout=60, wait_max=1):
            with attempt:
                seen = await collect_evidence(
                    broker,
                    self.system.paper_urls[broker],
                    self.engine,
                    self.redis,
                    journal,
                    accounts=self._accounts.get(broker),
                    conditions=conditions,
                )
        return seen

    async def settle(self, at_most_seconds: float) -> float:
        """Wait until nothing is pending and Redis is in line with the ledger. Return the seconds that it took.

        Give up when nothing was written into the ledger for `at_most_seconds`. The checks then report what is pending.
        """
        started = gone_on_at = time.monotonic()
        written = -1
        while time.monotonic() < gone_on_at + at_most_seconds:
            with contextlib.suppress(*AWAY):
                if await self._is_settled():
                    break
                now_written = await asyncio.to_thread(_written, self.engine)
                if now_written != written:
                    written, gone_on_at = now_written, time.monotonic()
            await asyncio.sleep(POLL_SECONDS)
        return time.monotonic() - started

    async def check(self) -> dict[Broker, Found]:
        """Check every invariant at every broker."""
        return {broker: check(await self.evidence(broker)) for broker in self.brokers}

    async def _prepare(self, system: LocalSystem) -> Mapping[str, str]:
        variables: dict[str, str] = {}
        with _engine(system.settings) as engine:
            store = FollowerStore(engine, SecretBox(system.settings.secret_key))
            for broker, url in system.paper_urls.items():
                plain = self._plain + MOST_OF_A_KIND
                accounts = await make_accounts(broker, url, plain, self._seed, keys_each=2, specials=self._specials)
                at_first = [*accounts.special, *accounts.plain[: self._plain]]
                await asyncio.to_thread(store.import_rows, at_first, actor="chaos")
                self._accounts[broker] = accounts
                variables |= BrokerDemo(broker, url, accounts, 0).master_variables()
        return variables

    def _arrange(self, specs: list[ProcessSpec]) -> list[ProcessSpec]:
        """Start two processes of each stage that may have several. A paused process must then find that the other one
        continued.
        """
        spares = [_spare(spec) for spec in specs if spec.name.partition("-")[0] in SPARED]
        return [self._change(spec) for spec in (*specs, *spares)]

    async def _warm_up(self) -> None:
        deadline = time.monotonic() + WARM_UP_SECONDS
        for broker in self.brokers:
            keys = BrokerKeys(broker)
            while await self.redis.hget(keys.master, "state") != b"watching" or (
                await self.redis.hlen(keys.accounts) < self.followers
            ):
                if time.monotonic() > deadline:
                    raise LocalSystemError(f"{broker.value}: not every account was read in time")
                await asyncio.sleep(POLL_SECONDS)

    async def _is_settled(self) -> bool:
        # Quiet is checked twice: a fill that was not in the ledger yet may have arrived in between. First, because it
        # is cheap.
        return await self._is_quiet() and await self._has_every_fill() and await self._is_quiet()

    async def _is_quiet(self) -> bool:
        """Whether no copy that the ledger knows is pending, and Redis is in line with the ledger."""
        run_id = (await run_id_of(self.redis)).encode()
        for broker in self.brokers:
            keys = BrokerKeys(broker)
            if await self.redis.get(keys.epoch) != run_id or await self.redis.xlen(keys.events):
                return False
            async for _ in self.redis.scan_iter(match=f"{keys.mailbox_prefix}*", count=1000):
                return False
            fills = await asyncio.to_thread(Reports(self.engine).fills, broker, limit=1_000_000)
            if any(fill.pending or fill.followers < self.followers for fill in fills):
                return False
        return True

    async def _has_every_fill(self) -> bool:
        for broker in self.brokers:
            seen = await self.evidence(broker)
            if seen.master_fills != seen.ledger_fills.keys():
                return False
        return True


def started_through(module: str, *arguments: str) -> Callable[[ProcessSpec], ProcessSpec]:
    """Start a stage through a module that changes it first: `python -m MODULE ARGUMENTS THE-STAGE'S-MODULE …`."""

    def change(spec: ProcessSpec) -> ProcessSpec:
        at = list(spec.command).index("-m")
        return replace(spec, command=[*spec.command[: at + 1], module, *arguments, *spec.command[at + 1 :]])

    return change


def _spare(spec: ProcessSpec) -> ProcessSpec:
    """A second process of the same stage, with its own name, log and heartbeat."""
    name = f"{spec.name}-spare"
    beat = spec.environment["NIJA_HEARTBEAT_FILE"]
    command = [part.replace("@%h", "-spare@%h") for part in spec.command]
    if spec.name == "bookkeeper":
        command += ["--name", name]
    return replace(
        spec,
        name=name,
        command=command,
        environment={**spec.environment, "NIJA_HEARTBEAT_FILE": f"{beat}-spare"},
        log_file=spec.log_file.with_name(f"{name}.log"),
        is_ready=_has_beaten(f"{beat}-spare"),
        before_start=lambda: None,
    )


def _has_beaten(file: str) -> Callable[[float], bool]:
    def has_beaten(started_at: float) -> bool:
        age = age_seconds(Path(file))
        return age is not None and time.time() - age >= started_at

    return has_beaten


def _written(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.scalar(_ROWS) or 0)


@contextlib.contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings.required_database_url(), pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()
