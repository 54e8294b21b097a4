"""The master trader publishes the trades of a person on the master account, in the right order and without loss.

It runs as a process with the real gateway, a paper Kraken, a real Redis and a real PostgreSQL. The person uses a second
key.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any, cast
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from services.local_system.embedded import run_server, start_server, stop_server
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.events import EVENT, FollowerDisabled
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.symbol import Symbol
from shared.messaging.fills import read_fills
from shared.messaging.keys import EVENT_FIELD, BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.migrate import migrate
from tests.support.epoch import in_line
from tests.support.ledger_examples import a_filled_event

KEYS = BrokerKeys(Broker.KRAKEN)
START = {"USD": "100000", "BTC": "0.5"}
PATIENCE_SECONDS = 30.0


@dataclass
class Paper:
    """A running paper Kraken, and the two keys of its account `master`."""

    url: str
    keys: list[dict[str, str]] = field(default_factory=list)

    def ask(self, path: str, document: dict[str, Any] | None = None, method: str | None = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        with urlopen(Request(self.url + path, data=body, method=method), timeout=10) as reply:  # noqa: S310
            return json.load(reply)

    def fills(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.ask("/paper/fills")["fills"])

    def credentials(self, number: int) -> Credentials:
        key = self.keys[number]
        return Credentials(api_key=SecretStr(key["api_key"]), api_secret=SecretStr(key["api_secret"]))


def start(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", **environment},
        )


def end(process: subprocess.Popen[bytes]) -> int:
    """End the process by SIGTERM, and by SIGKILL if it does not end in time; return its exit code."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    """A separate paper Kraken with a master account and a pinned price."""
    port_file = tmp_path / "port"
    process = start(
        "services.paper_broker.app",
        ["--broker", "kraken", "--port", "0", "--port-file", str(port_file), "--seed", "7"],
        tmp_path / "paper.log",
        {},
    )
    try:
        deadline = monotonic() + PATIENCE_SECONDS
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None, (tmp_path / "paper.log").read_text()
            assert monotonic() < deadline
        server = Paper(f"http://127.0.0.1:{port_file.read_text().strip()}")
        server.keys = server.ask("/paper/accounts", {"name": "master", "balances": START, "keys": 2})["keys"]
        server.ask("/paper/price", {"symbol": "BTC/USD", "price": "50000"})
        yield server
    finally:
        end(process)


@dataclass
class Bench:
    """All servers around the process under test."""

    paper: Paper
    redis_url: str
    database_url: str
    folder: Path
    redis: Redis
    person: BrokerConnection
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_master(self, **environment: str) -> subprocess.Popen[bytes]:
        key = self.paper.credentials(0)
        process = start(
            "services.master_trader.app",
            ["--broker", "kraken"],
            self.folder / f"master-{len(self.processes)}.log",
            {
                "REDIS_URL": self.redis_url,
                "DATABASE_URL": self.database_url,
                "KRAKEN_BASE_URL": self.paper.url,
                "KRAKEN_MASTER_API_KEY": key.api_key.get_secret_value(),
                "KRAKEN_MASTER_API_SECRET": key.api_secret.get_secret_value(),
                "NIJA_MASTER_POLL_SECONDS": "0.1",
                **environment,
            },
        )
        self.processes.append(process)
        return process

    async def trade(self, side: Side, quantity: str) -> str:
        """Place a market order as a person does; return the broker's order id."""
        return await self.person.account(self.paper.credentials(1)).place(
            MarketOrder(
                client_order_id=CopyOrderId(uuid4().hex),
                symbol=Symbol.parse("BTC/USD"),
                side=side,
                quantity=Decimal(quantity),
                valid_until=datetime.now(UTC) + timedelta(seconds=10),
            )
        )

    async def status(self) -> dict[str, str]:
        with suppress(RedisError, OSError):
            return {k.decode(): v.decode() for k, v in (await self.redis.hgetall(KEYS.master)).items()}
        return {}

    async def holder(self) -> int | None:
        """The id of the process that holds the lease."""
        token = await self.redis.get(KEYS.master_lease)
        return int(token.decode().split(":")[1]) if token else None

    async def published(self) -> list[MasterFill]:
        with suppress(RedisError, OSError):
            fills = [entry.fill for entry in await read_fills(self.redis, KEYS, 0, 1000)]
            assert all(isinstance(fill, MasterFill) for fill in fills)
            return [fill for fill in fills if isinstance(fill, MasterFill)]
        return []

    async def until(self, what: str, condition: Callable[[], Any]) -> None:
        """Wait until `condition` (a coroutine function) holds."""
        deadline = monotonic() + PATIENCE_SECONDS
        while not await condition():
            if monotonic() > deadline:
                logs = "\n".join(log.read_text()[-3000:] for log in sorted(self.folder.glob("*.log")))
                pytest.fail(f"never {what}; status {await self.status()}\n{logs}")
            await asyncio.sleep(0.02)

    async def until_state(self, state: str, error: str = "") -> None:
        async def reached() -> bool:
            status = await self.status()
            return status.get("state") == state and error in status.get("last_error", "")

        await self.until(f"{state} {error}", reached)

    async def until_all_published(self) -> list[MasterFill]:
        """Wait until the stream holds exactly the fills in the paper broker's own log; return them."""

        async def complete() -> bool:
            return len(await self.published()) >= len(self.paper.fills())

        await self.until("published everything", complete)
        fills, truth = await self.published(), self.paper.fills()
        assert [fill.fill_id for fill in fills] == [fill["fill_id"] for fill in truth]
        assert [fill.sequence for fill in fills] == list(range(1, len(fills) + 1))
        return fills


@asynccontextmanager
async def open_bench(paper: Paper, redis_url: str, database_url: str, folder: Path) -> AsyncIterator[Bench]:
    async with Redis.from_url(redis_url) as redis:
        await in_line(redis, KEYS)
        person = connect(Broker.KRAKEN, base_url=paper.url, nonces=RedisNonceSource(ScriptRunner(redis), KEYS))
        await person.open()
        bench = Bench(paper, redis_url, database_url, folder, redis, person)
        try:
            yield bench
        finally:
            for process in bench.processes:
                end(process)
            await person.close()


@pytest.fixture
async def bench(paper: Paper, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """A paper broker, an empty Redis, a migrated database, and a person with a key."""
    async with open_bench(paper, fresh_redis_url, fresh_database_url, tmp_path) as each:
        yield each


async def test_manual_trades_become_fills_with_equity_and_fractions(bench: Bench) -> None:
    """Each fill has the right equity, traded position and closed fraction, and older fills are not published.

    The trades are a buy, a buy in two executions, two sales that close them, and a sale of coins held before.
    """
    await bench.trade(Side.BUY, "0.01")
    history = len(bench.paper.fills())
    bench.start_master()
    await bench.until_state("watching")
    fault = {"kind": "partial_fill", "fraction": "0.25", "seconds": 0.2, "count": 1, "endpoint": "AddOrder"}

    await bench.trade(Side.BUY, "0.2")
    bench.paper.ask("/paper/faults", fault)
    await bench.trade(Side.BUY, "0.2")

    async def executed() -> bool:
        return sum(Decimal(f["quantity"]) for f in bench.paper.fills()[history:]) == Decimal("0.4")

    await bench.until("executed", executed)
    await bench.trade(Side.SELL, "0.2")
    await bench.trade(Side.SELL, "0.2")
    await bench.trade(Side.SELL, "0.1")  # more than was bought: coins from before

    async def complete() -> bool:
        return len(await bench.published()) >= len(bench.paper.fills()) - history

    await bench.until("published everything", complete)
    fills, truth = await bench.published(), bench.paper.fills()
    assert [f.fill_id for f in fills] == [t["fill_id"] for t in truth[history:]]
    assert len({f.order_id for f in fills}) == 5 < len(fills)

    usd, btc, traded = Decimal(START["USD"]), Decimal(START["BTC"]), Decimal(0)
    by_id = {fill.fill_id: fill for fill in fills}
    for each in truth:
        price, quantity, cost, fee = (Decimal(each[name]) for name in ("price", "quantity", "cost", "fee"))
        sign = 1 if each["side"] == "buy" else -1
        fill = by_id.get(each["fill_id"])
        if fill is not None:
            assert fill.master_equity_before == usd + btc * price
            assert (fill.price, fill.quantity, fill.cost, fill.fee) == (price, quantity, cost, fee)
            assert (fill.side.value, fill.symbol, fill.fee_currency) == (each["side"], "BTC/USD", "USD")
            assert fill.traded_position_before == traded
            closed = min(quantity, traded) if sign < 0 else Decimal(0)
            assert fill.fraction_closed == (closed / traded if traded else Decimal(0))
            traded += quantity if sign > 0 else -closed
            assert abs(fill.executed_at - datetime.fromtimestamp(each["executed_at"] / 1e6, UTC)) < timedelta(
                milliseconds=1
            )
            assert fill.executed_at <= fill.published_at <= datetime.now(UTC)
        usd -= sign * cost + fee
        btc += sign * quantity
    assert traded == 0
    assert fills[-1].fraction_closed == 0
    assert any(f.fraction_closed == 1 for f in fills)


async def test_a_purchase_that_becomes_visible_after_its_sale_is_published_before_it(bench: Bench) -> None:
    """The broker hides the purchase for a while. In the wrong order followers would keep what the master sold."""
    bench.start_master()
    await bench.until_state("watching")
    bench.paper.ask("/paper/faults", {"kind": "late_visibility", "seconds": 1.5, "count": 1, "endpoint": "AddOrder"})
    await bench.trade(Side.BUY, "0.1")
    await bench.trade(Side.SELL, "0.1")
    fills = await bench.until_all_published()
    assert [(fill.side, fill.fraction_closed) for fill in fills] == [(Side.BUY, 0), (Side.SELL, 1)]


@dataclass
class OwnFollower:
    """A follower that was given the master's second key. The test takes the place of its worker and bookkeeper."""

    bench: Bench
    engine: Engine

    def __post_init__(self) -> None:
        self.store = FollowerStore(self.engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
        self.store.add(Broker.KRAKEN, "self", self.bench.paper.credentials(1), actor="test")

    @property
    def status(self) -> FollowerStatus:
        return self.store.all()[0].status

    def book(self, sequence: int, broker_order_id: str) -> None:
        """Record that the copy of fill `sequence` was executed."""
        now = datetime.now(UTC)
        event = a_filled_event("self", sequence, broker_order_id=broker_order_id, occurred_at=now)
        assert Ledger(self.engine).write([event]).order_events == 1

    async def take_events(self) -> list[FollowerDisabled]:
        """Write the events of the master trader to the ledger and delete them from Redis; return them."""
        entries = await self.bench.redis.xrange(KEYS.events)
        events = [EVENT.validate_json(fields[EVENT_FIELD.encode()]) for _, fields in entries]
        await self.bench.redis.delete(KEYS.events)
        Ledger(self.engine).write(events)
        assert all(isinstance(event, FollowerDisabled) for event in events)
        return [event for event in events if isinstance(event, FollowerDisabled)]


@pytest.fixture
def own_follower(bench: Bench) -> Iterator[OwnFollower]:
    """A follower whose account is the master's account."""
    engine = open_engine(bench.database_url)
    yield OwnFollower(bench, engine)
    engine.dispose()


def check_equities(fills: list[MasterFill], truth: list[dict[str, Any]]) -> None:
    """Check that each published equity is the value of the account before its fill, with all executions counted."""
    usd, btc = Decimal(START["USD"]), Decimal(START["BTC"])
    by_id = {fill.fill_id: fill for fill in fills}
    for each in truth:
        price, quantity, cost, fee = (Decimal(each[name]) for name in ("price", "quantity", "cost", "fee"))
        if each["fill_id"] in by_id:
            assert by_id[each["fill_id"]].master_equity_before == usd + btc * price
        sign = 1 if each["side"] == "buy" else -1
        usd -= sign * cost + fee
        btc += sign * quantity


async def test_a_copy_on_the_masters_own_account_is_not_copied_again(bench: Bench, own_follower: OwnFollower) -> None:
    """A copy on the master's account is not published, even after a restart, and its follower is disabled.

    The trades before and after it are published as usual.
    """

    def own_fills() -> list[str]:
        return [fill["fill_id"] for fill in bench.paper.fills() if fill not in copied]

    async def complete() -> bool:
        return len(await bench.published()) >= len(own_fills())

    copied: list[dict[str, Any]] = []
    process = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()

    # One poll reads all of these: a trade before the copy, the copy, and a trade after it.
    assert end(process) == 0
    await bench.trade(Side.BUY, "0.1")
    before = len(bench.paper.fills())
    own_follower.book(1, await bench.trade(Side.BUY, "0.05"))
    copied = bench.paper.fills()[before:]
    await bench.trade(Side.SELL, "0.1")
    process = bench.start_master()
    await bench.until("published its own", complete)
    assert {event.follower_id for event in await own_follower.take_events()} == {"self"}
    assert own_follower.status is FollowerStatus.DISABLED

    # The operator has given the follower its own key. The process that reads the copy again does not know that.
    assert end(process) == 0
    own_follower.store.set_status(Broker.KRAKEN, "self", FollowerStatus.ACTIVE, actor="test")
    bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.SELL, "0.1")
    await bench.until("published its own", complete)
    assert await own_follower.take_events()
    assert own_follower.status is FollowerStatus.ACTIVE

    fills = await bench.published()
    assert [fill.fill_id for fill in fills] == own_fills()
    assert [fill.fraction_closed for fill in fills] == [0, 0, Decimal("0.5"), 1]
    check_equities(fills, bench.paper.fills())


async def test_a_copy_that_was_seen_before_the_ledger_knew_it_disables_its_follower_at_the_next_fill(
    bench: Bench, own_follower: OwnFollower
) -> None:
    """The copy was published as a fill.

    The next new fill makes the master trader find out that nija placed the copy.
    """
    bench.start_master()
    await bench.until_state("watching")
    copy = await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()
    assert await own_follower.take_events() == []
    own_follower.book(1, copy)
    await bench.trade(Side.BUY, "0.1")
    check_equities(await bench.until_all_published(), bench.paper.fills())
    assert {event.follower_id for event in await own_follower.take_events()} == {"self"}
    assert own_follower.status is FollowerStatus.DISABLED


async def test_status_and_instruments_are_there_for_the_others(bench: Bench) -> None:
    """Redis has the equity, the process, the time of the last poll and every instrument of the broker."""
    process = bench.start_master()
    await bench.until_state("watching")
    status = await bench.status()
    assert Decimal(status["cash"]) == Decimal(100_000)
    assert abs(Decimal(status["equity"]) - Decimal(125_000)) < 100
    assert status["process"].split(":")[1] == str(process.pid)
    assert datetime.now(UTC) - datetime.fromisoformat(status["last_poll_at"]) < timedelta(seconds=30)
    listed = await bench.redis.hkeys(KEYS.instruments)
    assert {symbol.decode() for symbol in listed} == set(bench.person.instruments())


async def test_fills_of_the_downtime_are_published_after_a_restart(bench: Bench) -> None:
    """SIGTERM releases the lease and leads to exit code 0. Trades of the meantime are published once."""
    first = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.1")
    await bench.until_all_published()
    assert end(first) == 0
    assert await bench.holder() is None
    assert (await bench.status())["state"] == "stopped"
    await bench.trade(Side.SELL, "0.05")
    await bench.trade(Side.SELL, "0.05")
    bench.start_master()
    fills = await bench.until_all_published()
    assert [fill.fraction_closed for fill in fills] == [0, Decimal("0.5"), 1]


async def test_the_spare_takes_over_from_a_killed_process_without_loss_or_double(bench: Bench) -> None:
    """The process with the lease is killed twice by kill -9 while the master trades."""
    for _ in range(2):
        bench.start_master()
    await bench.until_state("watching")
    for _ in range(2):
        holder = await bench.holder()
        running = {process.pid: process for process in bench.processes if process.poll() is None}
        assert holder in running
        await bench.trade(Side.BUY, "0.01")
        running[holder].kill()
        running[holder].wait()
        await bench.trade(Side.BUY, "0.01")
        killed_at = monotonic()
        await bench.until_all_published()
        assert monotonic() - killed_at < 12
        bench.start_master()
    assert len(await bench.published()) == len(bench.paper.fills())


async def test_a_broker_that_fails_for_a_while_delays_fills_and_loses_none(bench: Bench) -> None:
    """The master trades during each of several faults. The state is `waiting`, and then all fills are published."""
    process = bench.start_master(NIJA_REQUEST_TIMEOUT_SECONDS="1")
    await bench.until_state("watching")
    for fault in (
        {"kind": "http_error", "status": 502},
        {"kind": "html"},
        {"kind": "truncated"},
        {"kind": "reset"},
        {"kind": "reply_lost"},
        {"kind": "invalid_nonce"},
        {"kind": "maintenance"},
        {"kind": "hang", "seconds": 1.5},
    ):
        errors = (bench.folder / "master-0.log").read_text().count("watching interrupted")
        bench.paper.ask("/paper/faults", {**fault, "count": 2, "endpoint": "TradesHistory"})
        await bench.trade(Side.BUY, "0.01")
        await bench.until_all_published()
        await bench.until_state("watching")
        log = (bench.folder / "master-0.log").read_text()
        assert log.count("watching interrupted") == errors + 2, fault
        assert "Traceback" not in log
    assert process.poll() is None


async def test_a_refused_key_is_reported_and_probed_by_a_process_that_stays(bench: Bench) -> None:
    """The state `failed` names the refusal, and neither the status nor the log shows the key."""
    wrong = "d3Jvbmcga2V5IG9mIHRoZSByaWdodCBmb3JtLCBubyBhY2NvdW50IGhhcyBpdA=="
    process = bench.start_master(KRAKEN_MASTER_API_KEY=wrong)
    await bench.until_state("failed", "KeyRefused")
    assert process.poll() is None
    shown = json.dumps(await bench.status()) + (bench.folder / "master-0.log").read_text()
    assert wrong not in shown
    assert bench.paper.keys[0]["api_secret"] not in shown


async def test_a_stream_that_lost_its_entries_stops_publishing_and_says_so(bench: Bench) -> None:
    """No fill is published after the gap, and the ledger keeps all fills."""
    process = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.01")
    await bench.until_all_published()
    await bench.redis.delete(KEYS.fills)
    await bench.trade(Side.BUY, "0.01")
    await bench.until_state("failed", "Redis lost data")
    assert await bench.published() == []
    assert process.poll() is None


@pytest.mark.long
async def test_killed_servers_delay_fills_and_lose_none(paper: Paper, tmp_path: Path) -> None:
    """Redis and then PostgreSQL are killed by kill -9 while the master trades, and both restart with their data."""
    redis_server, postgres = RedisServer(tmp_path / "redis"), PostgresServer(tmp_path / "postgres")
    with ExitStack() as stack:
        redis_process = stack.enter_context(run_server(redis_server, tmp_path / "redis.out"))
        postgres_process = stack.enter_context(run_server(postgres, tmp_path / "postgres.out"))
        database_url = postgres.create_database("killed")
        migrate(database_url)
        async with open_bench(paper, redis_server.url, database_url, tmp_path) as bench:
            process = bench.start_master()
            await bench.until_state("watching")
            await bench.trade(Side.BUY, "0.01")
            redis_process.kill()
            redis_process.wait()
            log = tmp_path / "master-0.log"

            async def noticed() -> bool:
                return "watching interrupted" in log.read_text()

            await bench.until("noticed that Redis is away", noticed)
            redis_server.clear_remains()
            redis_process = start_server(redis_server, tmp_path / "redis.out")
            stack.callback(stop_server, redis_server, redis_process)
            await in_line(bench.redis, KEYS)
            await bench.until_all_published()

            postgres_process.send_signal(signal.SIGQUIT)
            postgres_process.wait()
            await bench.trade(Side.SELL, "0.01")
            await bench.until_state("waiting", "DatabaseUnavailable")
            postgres.clear_remains()
            postgres_process = start_server(postgres, tmp_path / "postgres.out")
            stack.callback(stop_server, postgres, postgres_process)
            await bench.until_all_published()
            assert process.poll() is None


@pytest.mark.parametrize(
    ("environment", "arguments", "named"),
    [
        ({"KRAKEN_MASTER_API_KEY": "", "KRAKEN_MASTER_API_SECRET": ""}, [], "KRAKEN_MASTER_API_KEY"),
        ({"KRAKEN_MASTER_API_SECRET": "not base64!"}, [], "KRAKEN_MASTER_API_SECRET"),
        ({"REDIS_URL": ""}, [], "REDIS_URL"),
        ({"DATABASE_URL": ""}, [], "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:///x"}, [], "DATABASE_URL"),
        ({"KRAKEN_BASE_URL": "kraken"}, [], "KRAKEN_BASE_URL"),
        ({"NIJA_MASTER_POLL_SECONDS": "soon"}, [], "NIJA_MASTER_POLL_SECONDS"),
        ({}, ["--broker", "mtgox"], "--broker: unknown broker 'mtgox'"),
    ],
)
def test_wrong_settings_end_it_with_exit_code_2_and_their_name(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], named: str
) -> None:
    """The process ends before it connects to anything, and the text does not repeat secrets."""
    right = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nija",
        "KRAKEN_MASTER_API_KEY": "c29tZSBrZXk=",
        "KRAKEN_MASTER_API_SECRET": "c29tZSBzZWNyZXQ=",
    }
    log = tmp_path / "log"
    process = start("services.master_trader.app", arguments or ["--broker", "kraken"], log, {**right, **environment})
    try:
        assert process.wait(20) == 2
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert named in text
    assert "Traceback" not in text
    assert "not base64!" not in text
