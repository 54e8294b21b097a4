"""Measures how much memory one follower's client costs in a worker process, for each broker.

A fresh process opens its broker (a paper one, over HTTP), lets some accounts read their balances so that everything
shared is there, and then as many as asked for. All clients are kept, and each has sent a request. What the process
has grown by, divided by the clients, is the cost of one.

`python -m benchmarks.memory BROKER URL` is that process. It reads keys as JSON from standard input and prints the KiB
of one client.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop

from benchmarks.paper import paper_broker
from benchmarks.rounds import Announce
from services.demo.person import OwnNonces
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect, supported_brokers
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker

WARM_UP = 64
AT_ONCE = 32
KIB = 1024
CHILD_SECONDS = 300


async def memory(folder: Path, followers: int, announce: Announce) -> dict[str, float]:
    """KiB a follower, by broker; one after another."""
    found = {}
    for broker in supported_brokers():
        async with paper_broker(broker, folder) as url:
            keys = await _make_keys(url, followers + WARM_UP)
            found[broker.value] = await _measure_in_a_process(broker, url, keys)
        announce(f"{broker.value}: {found[broker.value]:.1f} KiB a follower")
    return found


async def _make_keys(url: str, count: int) -> list[dict[str, Any]]:
    wanted = [{"name": f"f{number}", "balances": {"USD": "1000"}, "keys": 1} for number in range(count)]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/paper/accounts/bulk", json={"accounts": wanted}) as reply,
    ):
        reply.raise_for_status()
        return [account["keys"][0] for account in (await reply.json())["accounts"]]


async def _measure_in_a_process(broker: Broker, url: str, keys: Sequence[dict[str, Any]]) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "benchmarks.memory",
        broker.value,
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            out, _ = await process.communicate(json.dumps(keys).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"measuring {broker.value} ended with exit code {process.returncode}")
    return float(out)


async def measure(broker: Broker, url: str, keys: Sequence[Credentials]) -> float:
    """KiB a client, in this process."""
    connection = connect(broker, base_url=url, nonces=OwnNonces(), markets_key=keys[0])
    await connection.open()
    kept = await _used_accounts(connection, keys[:WARM_UP])
    before = _resident_bytes()
    kept += await _used_accounts(connection, keys[WARM_UP:])
    grown = _resident_bytes() - before
    await connection.close()
    return grown / (len(kept) - WARM_UP) / KIB


async def _used_accounts(connection: BrokerConnection, keys: Sequence[Credentials]) -> list[BrokerAccount]:
    accounts: list[BrokerAccount] = []
    for start in range(0, len(keys), AT_ONCE):
        fresh = [connection.account(key) for key in keys[start : start + AT_ONCE]]
        await asyncio.gather(*(account.balances() for account in fresh))
        accounts += fresh
    return accounts


def _resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    credentials = [Credentials.model_validate(key) for key in json.load(sys.stdin)]
    print(uvloop.run(measure(Broker(sys.argv[1]), sys.argv[2], credentials)))
