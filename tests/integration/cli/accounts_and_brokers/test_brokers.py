"""`nija brokers` shows what the stages have written into Redis about each broker."""

import os
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.cli.app import main
from services.master_trader.report import Report
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import ZERO
from shared.domain.copying.follower import FollowerStatus
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from shared.messaging.circuit import FAILURES_THAT_OPEN, RedisCircuit
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.integration.cli.accounts_and_brokers.conftest import Nija
from tests.integration.cli.accounts_and_brokers.seeding import KEYS, in_redis, report_master


@pytest.mark.usefixtures("followers", "settled_redis")
def test_brokers_show_what_there_is_to_know(nija: Nija, environment: dict[str, str]) -> None:
    """Kraken is shown as watched and funded. No sign of OKX exists, which is a finding and hides nothing of Kraken."""

    async def seed(redis: Redis) -> None:
        await report_master(redis)
        limits = RedisRateLimits(ScriptRunner(redis), KEYS)
        await limits.take([Charge("calls:0123", 15, 0.01, 6)], Priority.FOREGROUND)
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
    assert 0.3 <= limit["highest_used"] <= 0.4  # 6 of 15, less what came back since
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
