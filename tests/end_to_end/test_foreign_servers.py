"""Tests the whole pipeline on rented servers: a Redis user with few rights, PostgreSQL behind PgBouncer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.messaging.connection.commands import CHANNEL_PATTERNS, KEY_PATTERNS, NEEDED_COMMANDS
from shared.messaging.keys import LAST_POLL_FIELD
from shared.persistence.database import open_engine
from shared.persistence.reports.reports import FillReport, Reports
from tests.contract.paper import PaperServer
from tests.contract.person import a_person
from tests.support.running.stages import KEYS, Stages
from tests.support.servers.configured_redis import add_user, redis_with
from tests.support.servers.pgbouncer import PgBouncer

pytestmark = pytest.mark.long

FOLLOWERS = ("alice", "bob")
RARE = {
    # What Celery does when it gives a message back, answers a monitor, or ends.
    "rpop",
    "smembers",
    "srem",
    "punsubscribe",
    "unwatch",
    # What the bookkeeper does with events that another one left behind, and with those that cannot be written.
    "xclaim",
    "lrange",
    # What the API does when it counts the requests of a token.
    "pttl",
    "rename",
    # Benchmarks, and commands for a single order.
    "exists",
}
"""Commands that this run may do without."""


@pytest.fixture
def admin_url(tmp_path: Path) -> Iterator[str]:
    """A Redis 7; the user of this URL may do everything."""
    with redis_with(tmp_path, version="7") as url:
        yield url


@pytest.fixture
async def stages(admin_url: str, pooler: PgBouncer, fresh_database_url: str, tmp_path: Path) -> AsyncIterator[Stages]:
    """One master and two followers, at a user with exactly the documented rights and behind PgBouncer."""
    rules = [f"+{each}" for each in NEEDED_COMMANDS] + [f"~{each}" for each in KEY_PATTERNS]
    redis_url = add_user(
        admin_url, "nija", "-@all", *rules, "resetchannels", *(f"&{each}" for each in CHANNEL_PATTERNS)
    )
    # Another database than the first, where Redis wants SELECT.
    redis_url = redis_url.removesuffix("/0") + "/3"
    database = fresh_database_url.rpartition("/")[2].partition("?")[0]
    paper = PaperServer(Broker.KRAKEN, tmp_path)
    paper.pin_price("BTC/USD", "50000")
    stages = await Stages.around(paper, redis_url, pooler.url_of(database), tmp_path, FOLLOWERS)
    stages.settings = stages.settings.model_copy(update={"worker_children": 1})
    for name in ("bookkeeper", "copy_engine", "broker_worker-kraken", "master_trader-kraken"):
        await stages.start(name)
    yield stages
    await stages.close()
    paper.stop()


async def trade(stages: Stages, side: Side, quantity: str, fills: int) -> list[FillReport]:
    """Trade on the master's account; return all fills once so many are copied by every follower."""
    async with a_person(Broker.KRAKEN, stages.paper.url, stages.person) as person:
        await person.limit_order("BTC/USD", side, quantity, "55000" if side is Side.BUY else "45000")
    engine = open_engine(stages.settings.required_database_url(), pool_size=1)
    found: list[FillReport] = []

    async def copied() -> bool:
        found[:] = await asyncio.to_thread(Reports(engine).fills, Broker.KRAKEN)
        return len(found) == fills and all(each.copied == len(FOLLOWERS) for each in found)

    await stages.until(f"{fills} fills are copied", copied)
    engine.dispose()
    return found


async def test_fills_are_copied_with_few_rights_and_through_a_pooler(
    stages: Stages, admin_url: str, nija: Callable[..., Any], tmp_path: Path
) -> None:
    """Also after Redis was emptied. Nothing was denied, and the documented list has no command that is not used."""

    async def accounts_are_read() -> bool:
        followed = await stages.redis.hexists(KEYS.master, LAST_POLL_FIELD)
        return bool(followed) and int(await stages.redis.hlen(KEYS.accounts)) == len(FOLLOWERS)

    await stages.until("the accounts are read", accounts_are_read)
    await trade(stages, Side.BUY, "0.5", 1)
    with Redis.from_url(admin_url, decode_responses=True) as admin:
        admin.flushall()
        await stages.until("the accounts are read again", accounts_are_read)
        await trade(stages, Side.SELL, "0.2", 2)
        for name in FOLLOWERS:
            orders = [order for order in stages.paper.orders_of(name) if order["status"] == "filled"]
            assert [order["side"] for order in orders] == ["buy", "sell"]

        variables = {"PATH": "/usr/bin", **stages.settings.environment()}

        async def status_finds_nothing() -> bool:
            return (await asyncio.to_thread(nija, "status", folder=tmp_path, **variables)).returncode == 0

        # With Redis, the counts of requests are lost. Kraken may refuse polls until its own count has gone down.
        await stages.until("status finds nothing", status_finds_nothing)
        for command in (
            "brokers",
            "accounts",
            "reconcile",
            "followers pause alice",
            "followers resume alice",
        ):
            done = await asyncio.to_thread(nija, *command.split(), folder=tmp_path, **variables)
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

        denied = [f"{entry['reason']} {entry['object']}" for entry in admin.acl_log()]
        # Redis of version 7.0 does not know it, and the client does without.
        assert [each for each in denied if "setinfo" not in each] == []
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    assert set(NEEDED_COMMANDS) - used <= RARE
