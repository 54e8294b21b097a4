"""Runs the whole of nija on one machine as one object.

    async with LocalSystem(settings, paper=True) as system:
        system.settings                       as its processes have them: URLs, accounts
        system.processes                      name, pid, restarts
        system.kill("copy_engine")            as an accident would; it is started again

The start locks the folder and ends what a killed run left behind. Then it starts the servers, runs the migrations,
starts the paper brokers, makes the accounts, and starts the stages. At the end of the block everything ends in reverse
order, also when the start fails or is interrupted. When this process is killed, everything ends too, because the kernel
signals its children.
"""

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from cryptography.fernet import Fernet

from services.local_system import lock
from services.local_system.embedded import home_folder, kept_port, private_folder, write_private
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer, redis_warnings
from services.local_system.logs import LogKeeper
from services.local_system.paper_accounts import paper_variables
from services.local_system.process import ProcessSpec
from services.local_system.processes import (
    MarketSpan,
    Surroundings,
    api_spec,
    paper_broker_spec,
    server_spec,
    service_specs,
    trader_specs,
)
from services.local_system.record import MARKER_VARIABLE, RunRecord, end_leftovers
from services.local_system.supervisor import ProcessState, Supervisor
from shared.actions.keys_at_start import check_keys_at_start
from shared.actions.same_account import judge_keys
from shared.brokers.registry import EXAMPLE_BROKER
from shared.config import ConfigurationError, Settings, load_settings, without_settings
from shared.config.operator import action_context
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.environment import GONE, Registration, judge_nothing
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.migrate import migrate
from shared.persistence.server_check import check_server

_Result = TypeVar("_Result")

_KEEP_LOGS_SECONDS: Final = 60.0

Prepare = Callable[["LocalSystem"], Awaitable[Mapping[str, str]]]
"""Called after the servers and paper brokers and before the stages. Returns further variables, such as keys."""

Arrange = Callable[[list[ProcessSpec]], list[ProcessSpec]]
"""Takes the stages as they would be started, and returns them as they are to be started."""


class LocalSystem:
    """All processes of nija on this machine. Single use. The module shows how to use it."""

    def __init__(
        self,
        settings: Settings,
        *,
        brokers: Sequence[Broker] = (),
        paper: bool = False,
        seed: int = 7,
        candles: Path | None = None,
        market: MarketSpan | None = None,
        lift_rate_limits: bool = False,
        api: bool = False,
        strategy: bool = False,
        prepare: Prepare | None = None,
        arrange: Arrange = list,
        announce: Callable[[str], None] = print,
    ) -> None:
        """`brokers` are the enabled ones by default, and in paper mode the example broker. `seed` and `candles` set
        paper prices. `market`: they have the times of the candles, and move while their traders wait.

        In paper mode no real account is used: the processes get no key and no URL of the user, and embedded servers
        have their own data. `prepare` replaces the accounts that paper mode makes by itself. `arrange` may add
        processes to the stages, such as spares. `lift_rate_limits` is for benchmarks: neither the paper brokers nor nija
        limit requests. `api`: serve the API too. `strategy`: let the strategy trade the master accounts, if
        MULTI_BROKER_INDEPENDENT says so. On paper it need not be set.
        """
        self.settings = settings
        """As configured, and after the start as the processes have them."""
        self.paper_urls: dict[Broker, str] = {}
        self.api_url: str | None = None
        """Where the API is served; None: it is not."""
        self._brokers = tuple(brokers)
        self._paper = paper
        self._seed = seed
        self._candles, self._market = candles, market
        self._lift_rate_limits = lift_rate_limits
        self._api, self._strategy = api, strategy
        self._prepare, self._arrange = prepare, arrange
        self._announce = announce
        self._home = settings.home.absolute()
        self._data = self._home / ("paper" if paper else "live")
        self._record = RunRecord(self._home)
        self._marker = uuid.uuid4().hex
        self._supervisor = Supervisor(announce, self._write_processes)
        self._cleanup = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    @property
    def data_folder(self) -> Path:
        """The folder in which the embedded servers and the paper brokers keep their data."""
        return self._data

    @property
    def processes(self) -> list[ProcessState]:
        """The process table, in the order of starting."""
        return self._supervisor.processes

    def kill(self, name: str, signal_number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process, and return its process id. Raises LocalSystemError when it does not run."""
        return self._supervisor.kill(name, signal_number)

    async def wait_running(self, name: str, *, restarts: int, timeout_seconds: float = 60.0) -> None:
        """Return when the process runs and was restarted at least `restarts` times. Raises StartFailed."""
        await self._supervisor.wait_running(name, restarts=restarts, timeout_seconds=timeout_seconds)

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        brokers = self._choose_brokers()
        home_folder(self._home)
        stack.enter_context(lock.exclusive(self._home))
        self._record.forget_servers()
        ended = await _in_thread(end_leftovers, self._record)
        if ended:
            self._announce(f"ended {ended} {'process' if ended == 1 else 'processes'} that an earlier run left behind")
        await _in_thread(self._check_servers)
        self._record.open(self._marker)
        private_folder(self._data)
        variables = self._base_variables()
        stack.push_async_callback(self._supervisor.stop)
        stack.push_async_callback(_cancel, asyncio.create_task(self._keep_logs(), name="keep logs"))

        embedded = await self._start_servers()
        variables |= embedded
        self._load(variables, brokers)
        database_url = self.settings.required_database_url()
        await _in_thread(migrate, database_url)
        if self._paper:
            variables |= await self._start_paper_brokers(brokers, variables)
        self._load(variables, brokers)
        if self._prepare is not None:
            variables |= await self._prepare(self)
        elif self._paper:
            for broker, url in self.paper_urls.items():
                keys_file = self._data / f"{broker.value}-keys.json"
                variables |= await _in_thread(paper_variables, broker, url, keys_file)
        self._load(variables, brokers)
        for broker in brokers:
            self.settings.required_master_credentials(broker)
        registration = await _in_thread(self._register_followers, database_url)
        for broker, follower_id in registration.disabled:
            self._announce(f"{broker.value}: follower {follower_id} is disabled: {GONE}")
        for (broker, follower_id), why in registration.refused.items():
            self._announce(f"{broker.value}: follower {follower_id} is disabled, its new key is not used: {why}")
        for (broker, follower_id), why in registration.postponed.items():
            self._announce(f"{broker.value}: follower {follower_id} keeps its old key for now: {why}")
        if not self._paper and self._prepare is None:
            brokers = await self._usable(brokers, registration, database_url)
            self._load(variables, brokers)

        reachable = {f"{broker.name}_BASE_URL": url for broker, url in self.paper_urls.items()}
        reachable["NIJA_BROKERS"] = ",".join(broker.value for broker in brokers)
        self._record.write_environment(self._marker, {**embedded, **reachable}, paper=self._paper)
        around = self._surroundings(self.settings.environment())
        stages = service_specs(self.settings, brokers, around)
        if self._strategy and self.settings.multi_broker_independent:
            stages += trader_specs(brokers, around)
        specs = self._arrange(stages)
        if self._api:
            port = self.settings.api_port or kept_port(self._data / "api.port")
            self.api_url = f"http://127.0.0.1:{port}"
            specs.append(api_spec(port, around))
        await self._supervisor.start(specs)

    def _choose_brokers(self) -> tuple[Broker, ...]:
        brokers = self._brokers or ((EXAMPLE_BROKER,) if self._paper else self.settings.enabled_brokers())
        if not brokers:
            raise ConfigurationError(
                "no broker is enabled: set a master account's key (for example KRAKEN_MASTER_API_KEY and "
                "KRAKEN_MASTER_API_SECRET), or try nija on paper with `nija up --paper`"
            )
        return brokers

    def _base_variables(self) -> dict[str, str]:
        settings = self.settings
        if self._paper:
            update = {
                "rate_limits": not self._lift_rate_limits,
                "paper_market_clock": self._market is not None,
                "multi_broker_independent": settings.multi_broker_independent is not False,
                # No real money can leave a paper account, and Alpaca does not report what a key may do.
                "allow_withdraw_keys": tuple(f"{broker.value}:master" for broker in Broker),
            }
            settings = settings.with_variables({}).model_copy(update=update)
        return {**settings.environment(), "NIJA_SECRET_KEY": self._secret_key()}

    def _secret_key(self) -> str:
        file = self.settings.secret_key_file
        if self.settings.configured_secret_key is None and not file.exists():
            write_private(file, Fernet.generate_key().decode() + "\n")
            self._announce(f"made a secret key, {file}: keep a copy, followers' keys are encrypted with it")
        return self.settings.secret_key.get_secret_value()

    def _check_servers(self) -> None:
        """Check the servers that the settings name, before anything is started.

        Raises RedisUnusable, RedisUnavailable, DatabaseUnusable and DatabaseUnavailable.
        """
        # In paper mode no broker has a Redis of its own.
        own = {} if self._paper else {broker: self.settings.own_redis_url(broker) for broker in Broker}
        sharing = [broker for broker in Broker if not own.get(broker)]
        named = [(f"{broker.name}_REDIS_URL", url, [broker]) for broker, url in own.items()]
        for setting, url, brokers in [("REDIS_URL", self.settings.redis_url, sharing), *named]:
            for warning in redis_warnings(setting, url, brokers) if url and brokers else ():
                self._announce(warning)
        if self.settings.database_url:
            engine = open_engine(self.settings.database_url, pool_size=1)
            check_server(engine)
            engine.dispose()

    async def _start_servers(self) -> dict[str, str]:
        """Start the servers that the settings do not name. Return the variables with their URLs."""
        found: dict[str, str] = {}
        around = self._surroundings({})
        specs = []
        redis_server = postgres_server = None
        if not self.settings.redis_url:
            redis_server = RedisServer(self._data / "redis", self.settings.embedded_redis_port)
            await _in_thread(redis_server.prepare)
            specs.append(server_spec(redis_server, around))
            found["REDIS_URL"] = redis_server.url
        if not self.settings.database_url:
            postgres_server = PostgresServer(self._data / "postgres")
            await _in_thread(postgres_server.prepare)
            specs.append(server_spec(postgres_server, around))
        await self._supervisor.start(specs)
        if postgres_server is not None:
            found["DATABASE_URL"] = await _in_thread(postgres_server.create_database, "nija")
        return found

    async def _start_paper_brokers(self, brokers: Sequence[Broker], variables: Mapping[str, str]) -> dict[str, str]:
        around = self._surroundings(variables)
        specs = []
        for broker in brokers:
            port = kept_port(self._data / f"{broker.value}.port")
            self.paper_urls[broker] = f"http://127.0.0.1:{port}"
            specs.append(
                paper_broker_spec(
                    broker,
                    port,
                    self._data,
                    around,
                    seed=self._seed,
                    candles=self._candles,
                    market=self._market,
                    lift_rate_limits=self._lift_rate_limits,
                )
            )
        await self._supervisor.start(specs)
        return {f"{broker.name}_BASE_URL": url for broker, url in self.paper_urls.items()}

    def _load(self, variables: Mapping[str, str], brokers: Sequence[Broker]) -> None:
        enabled = ",".join(broker.value for broker in brokers)
        self.settings = load_settings({**variables, "NIJA_BROKERS": enabled})

    def _register_followers(self, database_url: str) -> Registration:
        engine = open_engine(database_url, pool_size=1)
        try:
            context = action_context(self.settings, engine, secret_box=SecretBox(self.settings.secret_key))
            # Paper accounts are made by this process, so their keys are not in doubt.
            judge = judge_nothing if self._paper or self._prepare is not None else judge_keys(context)
            return context.store.register_environment(self.settings.environment_followers(), judge=judge)
        finally:
            engine.dispose()

    async def _usable(
        self, brokers: Sequence[Broker], registration: Registration, database_url: str
    ) -> tuple[Broker, ...]:
        engine = open_engine(database_url, pool_size=1)
        try:
            context = action_context(self.settings, engine)
            followers = self.settings.environment_followers()
            found = await check_keys_at_start(context, brokers, followers, registration)
        finally:
            engine.dispose()
        for note in found.notes:
            self._announce(note)
        if not found.usable:
            raise ConfigurationError(found.refusal())
        return found.usable

    def _surroundings(self, variables: Mapping[str, str]) -> Surroundings:
        inherited = without_settings(os.environ)
        return Surroundings(
            environment={**inherited, **variables, MARKER_VARIABLE: self._marker, "PYTHONUNBUFFERED": "1"},
            log_folder=private_folder(self._home / "logs"),
            heartbeat_file=self._record.heartbeat_file,
            working_folder=Path.cwd(),
        )

    async def _keep_logs(self) -> None:
        keeper = LogKeeper(private_folder(self._home / "logs"), self._announce)
        while True:
            await _in_thread(keeper.keep, self._supervisor.specs, datetime.now(UTC))
            await asyncio.sleep(_KEEP_LOGS_SECONDS)

    def _write_processes(self) -> None:
        self._record.write_processes(self._supervisor.processes)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _in_thread(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Like `asyncio.to_thread`, but a cancellation waits for the thread, so that none writes into a folder given up."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise
