"""`nija accounts`, `nija brokers` and `nija check brokers` show what the stages have written into Redis."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis

from services.broker_worker.read_account import AccountReader, Prices
from services.cli.app import main
from services.master_trader.report import Report
from shared.brokers.errors import BrokerError, OutcomeUnknown
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.equity import Balance, snapshot
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import ZERO
from shared.domain.copying.follower import FollowerStatus
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge
from shared.messaging.circuit import FAILURES_THAT_OPEN, RedisCircuit
from shared.messaging.keys import BrokerKeys
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stage_signs import Stage, StageRecord, StageSigns, StageState
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.support.broker import FakeConnection
from tests.support.faulty_broker import PRICE, FaultyAccount
from tests.support.stage_signs import sign_for

KEYS = BrokerKeys(Broker.KRAKEN)
Nija = Callable[..., tuple[int, Any]]


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a system with two brokers."""
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_BROKERS": "kraken,okx",
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@pytest.fixture
def nija(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nija:
    """Run a command with --json; return its exit code and document."""

    def run(*arguments: str, **variables: str) -> tuple[int, Any]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", *arguments, "--json"])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0), json.loads(capfd.readouterr().out)

    return run


@pytest.fixture
def followers(environment: dict[str, str]) -> None:
    """The followers alice and bob at Kraken."""
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    store = FollowerStore(engine, SecretBox(SecretStr(environment["NIJA_SECRET_KEY"])))
    for name in ("alice", "bob"):
        key = Credentials(api_key=SecretStr(f"key-{name}"), api_secret=SecretStr("c2VjcmV0"))
        store.add(Broker.KRAKEN, name, key, actor="test")
    engine.dispose()


async def read(redis: Redis, name: str, error: BrokerError | None = None) -> None:
    """Read an account of 1,000 free and 500 held dollars, 0.1 BTC and a coin without a price, or fail with `error`."""
    account = FaultyAccount(free={"USD": Decimal(1_000), "BTC": Decimal("0.1"), "ODD": Decimal(5)})
    reader = AccountReader(redis, KEYS, Broker.KRAKEN, Prices(FakeConnection(account, {"BTC": PRICE})), 60)
    if error is None:
        await reader.read(name, account)
    else:
        await reader.failed(name, error)


def in_redis(url: str, work: Callable[[Redis], Any]) -> None:
    async def run() -> None:
        async with Redis.from_url(url) as redis:
            await work(redis)

    asyncio.run(run())


@pytest.mark.usefixtures("followers")
def test_accounts_show_balances_and_failures(nija: Nija, environment: dict[str, str]) -> None:
    """An account is shown with its parts. After failures the last balance is marked as stale.

    An account that was never read has no balance, which is not zero.
    """

    async def seed(redis: Redis) -> None:
        await read(redis, "alice")
        for _ in range(3):
            await read(redis, "alice", OutcomeUnknown("HTTP 502"))
        await read(redis, "bob", OutcomeUnknown("HTTP 503"))

    in_redis(environment["REDIS_URL"], seed)
    code, (alice, bob) = nija("accounts", "--broker", "kraken")
    assert code == 0
    assert (alice["user_id"], alice["role"], alice["broker"]) == ("alice", "follower", "kraken")
    assert Decimal(alice["balance"]["total_equity_usd"]) == 6_000
    assert Decimal(alice["balance"]["available_usd"]) == 1_000
    assert Decimal(alice["balance"]["locked_in_positions_usd"]) == 5_000
    assert alice["balance"]["unpriced"] == ["ODD"]
    assert (alice["balance"]["stale"], alice["connected"], alice["available_for_opens"]) == (True, False, False)
    assert (alice["failed_reads"], alice["error"]) == (3, "HTTP 502")
    assert (bob["balance"], bob["connected"], bob["error"]) == (None, False, "HTTP 503")
    in_redis(environment["REDIS_URL"], lambda redis: read(redis, "alice"))
    _, (alice,) = nija("accounts", "--follower", "alice")
    assert (alice["balance"]["stale"], alice["connected"], alice["available_for_opens"]) == (False, True, True)


async def report_master(redis: Redis, *, held: str = "500") -> None:
    await sign_for(redis, KEYS)
    report = Report(redis, KEYS, "master", "test", lambda: datetime.now(UTC))
    balances = {"USD": Balance(free=Decimal(1_000), total=Decimal(1_000) + Decimal(held))}
    await report.equity(snapshot(balances, {}, datetime.now(UTC)))
    await report.watching(watched_since=datetime.now(UTC), published_sequence=None)


@pytest.mark.usefixtures("followers")
def test_the_table_of_accounts_counts_copied_positions_of_followers_only(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is copied to a master, so its row has no number of copied positions."""
    in_redis(environment["REDIS_URL"], report_master)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment)
        patch.setattr(sys, "argv", ["nija", "accounts", "--broker", "kraken"])
        with pytest.raises(SystemExit):
            main()
    rows = {line.split()[0]: line.split() for line in capfd.readouterr().out.splitlines() if line.split()}
    assert "copied" in rows["account"]
    assert rows["master"][-1] == "–"
    assert "–" in rows["alice"]
    assert "0" in rows["alice"]


@pytest.mark.usefixtures("followers")
def test_a_removed_follower_has_no_account_to_show(
    nija: Nija, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The text says that the follower was removed, not that there are no followers."""
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    FollowerStore(engine).remove(Broker.KRAKEN, "alice", actor="test")
    engine.dispose()
    assert nija("accounts", "--follower", "alice") == (0, [])
    for place, arguments in (("", []), (" at kraken", ["--broker", "kraken"])):
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment)
            patch.setattr(sys, "argv", ["nija", "accounts", "--follower", "alice", *arguments])
            with pytest.raises(SystemExit):
                main()
        told = f"alice{place} was removed: nija has no key to read the account any more\n"
        assert capfd.readouterr().out == told


@pytest.mark.usefixtures("followers")
def test_brokers_show_what_there_is_to_know(nija: Nija, environment: dict[str, str]) -> None:
    """Kraken is shown as watched and funded. No sign of OKX exists, which is a finding and hides nothing of Kraken."""

    async def seed(redis: Redis) -> None:
        await report_master(redis)
        limits = RedisRateLimits(ScriptRunner(redis), KEYS)
        await limits.take([Charge("calls:0123", 15, 0.01, 6)], 0.0)
        await redis.zadd(KEYS.ready, {"alice": datetime.now(UTC).timestamp() * 1000})
        await redis.rpush(KEYS.mailbox("alice"), "order", "order")

    in_redis(environment["REDIS_URL"], seed)
    code, (kraken, okx) = nija("brokers")
    assert code == 1
    assert (kraken["broker"], kraken["connected"], kraken["funded"], kraken["health"]) == (
        "kraken",
        True,
        True,
        "healthy",
    )
    split = {name: Decimal(kraken["equity"][name]) for name in ("total", "cash", "held", "positions")}
    assert split == {"total": 1_500, "cash": 1_000, "held": 500, "positions": 0}
    assert kraken["queue"] == {"hints": 0, "ready": 1, "claimed": 0, "mail": 2}
    assert (kraken["served"], okx["served"]) == (True, False)
    assert [each["kind"] for each in okx["service"]] == ["engine_absent", "worker_absent"]
    assert kraken["circuit"]["open"] is False
    ((limit),) = kraken["rate_limits"]
    assert (limit["name"], limit["buckets"]) == ("calls", 1)
    assert 0.4 <= limit["highest_used"] <= 0.5
    assert kraken["followers"] == {"active": 2}
    assert Decimal(kraken["fees"]["round_trip"]) == Decimal("0.0062")
    assert Decimal(kraken["fees"]["smallest_worthwhile_profit"]) == Decimal("0.0082")
    assert (okx["connected"], okx["funded"], okx["health"], okx["equity"]) == (False, False, "unknown", None)


def test_a_disabled_follower_is_a_finding_of_its_broker(
    nija: Nija, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A disabled follower leads to exit code 1 although its broker is healthy.

    Without any follower the exit code is 1 too. Without PostgreSQL followers are not counted.
    """

    async def seed(redis: Redis) -> None:
        await report_master(redis)

    in_redis(environment["REDIS_URL"], seed)
    nobody, _ = nija("brokers", "--broker", "kraken")
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    store = FollowerStore(engine, SecretBox(SecretStr(environment["NIJA_SECRET_KEY"])))
    for name in ("alice", "bob"):
        key = Credentials(api_key=SecretStr(f"key-{name}"), api_secret=SecretStr("c2VjcmV0"))
        store.add(Broker.KRAKEN, name, key, actor="test")
    well, _ = nija("brokers", "--broker", "kraken")
    store.set_status(Broker.KRAKEN, "bob", FollowerStatus.DISABLED, actor="test", reason="the key is refused")
    engine.dispose()
    disabled, _ = nija("brokers", "--broker", "kraken")
    assert (nobody, well, disabled) == (1, 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment)
        patch.setattr(sys, "argv", ["nija", "brokers", "--broker", "kraken"])
        with pytest.raises(SystemExit):
            main()
    assert "kraken: 1 follower is disabled (`nija followers list`)" in capfd.readouterr().out
    away, (kraken,) = nija("brokers", "--broker", "kraken", DATABASE_URL="postgresql://u:p@127.0.0.1:1/nija")
    assert (away, kraken["followers"]) == (0, None)


def test_trouble_shows_as_health_and_as_an_open_circuit(nija: Nija, environment: dict[str, str]) -> None:
    """One error makes the health degraded, five make it failed, and the last equity stays visible.

    The circuit of a broker that does not answer is shown as open.
    """

    async def trouble(redis: Redis, errors: int) -> None:
        await report_master(redis)
        report = Report(redis, KEYS, "master", "test", lambda: datetime.now(UTC))
        await report.trouble(MasterState.WAITING, "OutcomeUnknown: timeout", errors)

    health = {}
    for errors in (1, 5):
        in_redis(environment["REDIS_URL"], lambda redis, errors=errors: trouble(redis, errors))
        _, (kraken,) = nija("brokers", "--broker", "kraken")
        health[errors] = kraken["health"]
        assert Decimal(kraken["equity"]["total"]) > ZERO
    assert health == {1: "degraded", 5: "failed"}

    async def open_circuit(redis: Redis) -> None:
        circuit = RedisCircuit(ScriptRunner(redis), KEYS)
        for number in range(FAILURES_THAT_OPEN):
            await circuit.failed(f"k{number % 2}", "timeout")

    in_redis(environment["REDIS_URL"], open_circuit)
    code, (kraken,) = nija("brokers", "--broker", "kraken")
    assert code == 1
    assert (kraken["circuit"]["open"], kraken["circuit"]["last_error"]) == (True, "timeout")
    assert kraken["circuit"]["next_probe_at"] is not None


def test_a_redis_that_is_away_hides_only_its_own_broker(nija: Nija, environment: dict[str, str]) -> None:
    """OKX has its own Redis, which is unreachable. Kraken is shown in full."""
    in_redis(environment["REDIS_URL"], report_master)
    code, (kraken, okx) = nija("brokers", OKX_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert kraken["connected"] is True
    assert okx["queue"] is None
    assert okx["redis_error"]


def test_an_accounts_own_fee_tier_is_shown_in_place_of_the_default(nija: Nija, environment: dict[str, str]) -> None:
    """The fee tier comes from the broker through the master trader. Until then the default is shown and marked."""
    in_redis(environment["REDIS_URL"], report_master)
    _, (kraken,) = nija("brokers", "--broker", "kraken")
    assert kraken["fees"]["live"] is False

    async def tell(redis: Redis) -> None:
        report = Report(redis, KEYS, "master", "test", lambda: datetime.now(UTC))
        await report.fees(FeeRates(taker=Decimal("0.001"), maker=Decimal("0.0002")))

    in_redis(environment["REDIS_URL"], tell)
    _, (kraken,) = nija("brokers", "--broker", "kraken")
    assert kraken["fees"] == {
        "taker": "0.001",
        "maker": "0.0002",
        "round_trip": "0.003",
        "smallest_worthwhile_profit": "0.005",
        "live": True,
    }


def check_brokers(nija: Nija, *arguments: str) -> tuple[int, Any]:
    """Run `nija check brokers`; return its exit code and document."""
    return nija("check", "brokers", *arguments)


def test_check_brokers_wants_every_broker_connected_and_served(nija: Nija, environment: dict[str, str]) -> None:
    """Both masters are polled, but OKX has no worker. Only `--any` succeeds, and the finding names the reason."""
    okx = BrokerKeys(Broker.OKX)

    async def seed(redis: Redis) -> None:
        await report_master(redis)
        report = Report(redis, okx, "master", "test", lambda: datetime.now(UTC))
        await report.watching(watched_since=datetime.now(UTC), published_sequence=None)
        await sign_for(redis, okx, [Stage.MASTER_TRADER, Stage.COPY_ENGINE, Stage.BOOKKEEPER])

    in_redis(environment["REDIS_URL"], seed)
    code, found = check_brokers(nija)
    assert (code, found["connected"], found["served"]) == (1, ["kraken", "okx"], ["kraken"])
    assert [(each["kind"], each["broker"]) for each in found["findings"]] == [("worker_absent", "okx")]
    assert check_brokers(nija, "--any")[0] == 0
    in_redis(environment["REDIS_URL"], lambda redis: sign_for(redis, okx, [Stage.BROKER_WORKER]))
    code, found = check_brokers(nija)
    assert (code, found["served"], found["findings"]) == (0, ["kraken", "okx"], [])


def test_check_brokers_finds_mail_that_is_not_served(nija: Nija, environment: dict[str, str]) -> None:
    """The worker is alive and takes no mail. A broker is served if no due mail waits for longer than ten seconds."""

    async def seed(redis: Redis) -> None:
        await report_master(redis)
        await redis.zadd(KEYS.ready, {"alice": (datetime.now(UTC).timestamp() - 30) * 1000})
        await redis.rpush(KEYS.mailbox("alice"), "order")

    in_redis(environment["REDIS_URL"], seed)
    code, found = check_brokers(nija, "--broker", "kraken")
    assert (code, found["connected"], found["served"]) == (1, ["kraken"], [])
    assert [each["kind"] for each in found["findings"]] == ["mail_waits"]


def test_check_brokers_needs_one_broker_that_answers(nija: Nija) -> None:
    """No process runs at any broker, so that even `--any` fails."""
    code, found = check_brokers(nija, "--any")
    assert (code, found["brokers"], found["connected"], found["served"]) == (1, ["kraken", "okx"], [], [])
    code, found = check_brokers(nija, "--broker", "kraken")
    assert (code, found["brokers"]) == (1, ["kraken"])


def test_a_broker_that_starts_is_not_served_yet(nija: Nija, environment: dict[str, str]) -> None:
    """`nija status` has no finding yet, but the check fails and names what is missing."""

    async def seed(redis: Redis) -> None:
        await StageSigns(redis, KEYS).write(StageRecord.of_this_process(Stage.COPY_ENGINE).now(StageState.RUNNING))

    in_redis(environment["REDIS_URL"], seed)
    code, found = check_brokers(nija, "--broker", "kraken")
    assert code == 1
    assert [each["message"] for each in found["findings"]] == [
        "not connected",
        "not served yet: no live broker_worker, which may still be starting",
    ]


@pytest.mark.usefixtures("followers")
def test_a_broker_that_is_switched_off_is_not_checked(nija: Nija) -> None:
    """Its followers stay in the ledger, but a monitoring script must not wait for it."""
    _, found = nija("check", "brokers", NIJA_BROKERS="okx")
    assert found["brokers"] == ["okx"]
