"""Loses the data of Redis in several ways, and checks that no fill and no order was lost or doubled by it."""

import shutil
import subprocess
from collections import Counter
from decimal import Decimal
from pathlib import Path

from services.local_system.embedded import start_server, stop_server
from services.local_system.embedded_redis import RedisServer
from shared.domain.identity import Broker
from shared.persistence.ledger.master_fills import MasterFills
from tests.support.faulty_broker import ProcessDied
from tests.support.running.restore_world import RestoreWorld

NAMES = [f"follower-{number:02}" for number in range(12)]
SMALL = "follower-00"
"""A follower that is too small for its first share, so that the share is carried."""


class OwnRedis:
    """A Redis server of one test, which the test may kill, empty and set back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = RedisServer(folder / "redis")
        self._server.prepare()
        self._process: subprocess.Popen[bytes] = start_server(self._server, folder / "redis.log")

    @property
    def url(self) -> str:
        return self._server.url

    def remember(self) -> None:
        """Keep a copy of the present data."""
        shutil.copytree(self._folder / "redis", self._folder / "older", dirs_exist_ok=True)

    def restart(self, *, with_older_data: bool = False) -> None:
        """Kill the server with kill -9 and start it again, with the data of `remember` if wanted."""
        self._process.kill()
        self._process.wait()
        if with_older_data:
            shutil.rmtree(self._folder / "redis")
            shutil.copytree(self._folder / "older", self._folder / "redis")
            (self._folder / "redis" / "redis.pid").unlink(missing_ok=True)
        self._server.clear_remains()
        self._process = start_server(self._server, self._folder / "redis.log")

    def stop(self) -> None:
        stop_server(self._server, self._process)


async def lose(world: RestoreWorld, own_redis: OwnRedis, loss: str) -> None:
    """Lose data in the given way. FLUSHALL keeps the connections open, and the other ways break them."""
    if loss == "emptied":
        await world.redis.flushall()
        return
    own_redis.restart(with_older_data=loss == "older file")
    await world.redis.connection_pool.disconnect()


async def assert_sound(world: RestoreWorld) -> None:
    """Each fill has one outcome for each follower, and the broker executed each copied order once and nothing else."""
    once = Counter(dict.fromkeys(world.expected(), 1))
    assert world.decisions() == once
    assert world.finals() == once
    assert world.executed() == Counter(dict.fromkeys(world.ordered(), 1))
    assert await world.redis_positions() == world.ledger_positions()
    bought = sum((r.filled_quantity * (1 if r.side == "buy" else -1) for r in world.bench.account.executed), Decimal(0))
    assert sum((quantity for quantity, _ in world.ledger_positions().values()), Decimal(0)) == bought


def unmarked(_ledger: MasterFills, _broker: Broker, _sequence: int) -> None:
    """Replaces `mark_published`: the master trader is killed just before it."""
    raise ProcessDied
