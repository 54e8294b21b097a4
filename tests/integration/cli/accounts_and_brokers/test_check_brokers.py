"""`nija check brokers` succeeds only if the brokers are connected and served."""

from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from services.master_trader.report import Report
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageRecord, StageSigns, StageState
from tests.integration.cli.accounts_and_brokers.conftest import Nija
from tests.integration.cli.accounts_and_brokers.seeding import KEYS, in_redis, report_master
from tests.support.running.stage_signs import sign_for


def check_brokers(nija: Nija, *arguments: str) -> tuple[int, Any]:
    """Run `nija check brokers`; return its exit code and document."""
    return nija("check", "brokers", *arguments)


@pytest.mark.usefixtures("settled_redis")
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


@pytest.mark.usefixtures("settled_redis")
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
