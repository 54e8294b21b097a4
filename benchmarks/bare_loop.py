"""Runs the baseline of the copy benchmark: a plain ccxt loop in one process, without a queue or a database.

`python -m benchmarks.bare_loop URL ACCOUNTS ORDERS PLACES` waits for a line on standard input. For each line, it
places ORDERS market orders, spread evenly over the accounts, and reads the final state of each order. PLACES orders
are in flight at a time. Then it prints the seconds that this took.

The clients share one session and one list of markets, as the clients of nija do. Separate ones for each account would
only make the baseline slower.
"""

import asyncio
import base64
import copy
import json
import sys
import time
import uuid
from typing import Any

import aiohttp
import ccxt.async_support as ccxt  # type: ignore[import-untyped]
import uvloop

SECRET = base64.b64encode(b"benchmark").decode()


class Kraken(ccxt.kraken):  # type: ignore[misc]
    """The Kraken client of ccxt, without its warning about an open session: `main` closes the session."""

    def __del__(self) -> None:
        pass


async def clients(url: str, count: int, session: aiohttp.ClientSession) -> list[Any]:
    """One client per account, all with the same session and the same markets."""
    template = Kraken({"session": session, "enableRateLimit": False, "number": str})
    template.urls["api"] = {"public": url, "private": url}
    await template.load_markets()
    made = []
    for number in range(count):
        client = copy.copy(template)
        client.apiKey, client.secret = f"key-{number}", SECRET
        client.options, client.headers = dict(template.options), dict(template.headers)
        made.append(client)
    return made


async def place_all(accounts: list[Any], orders: int, places: int) -> float:
    """Place all orders, read their final states, and return how many seconds it took."""
    numbers = iter(range(orders))

    async def place_some() -> None:
        for number in numbers:
            client = accounts[number % len(accounts)]
            parameters = {"clientOrderId": uuid.uuid4().hex, "oflags": "fciq"}
            order = await client.create_order("BTC/USD", "market", "buy", "0.005", None, parameters)
            state = await client.fetch_order(order["id"], "BTC/USD")
            if state["status"] != "closed":
                raise RuntimeError(json.dumps(state))

    started = time.perf_counter()
    await asyncio.gather(*(place_some() for _ in range(places)))
    return time.perf_counter() - started


async def main(url: str, account_count: int, orders: int, places: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        accounts = await clients(url, account_count, session)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while await asyncio.to_thread(sys.stdin.readline):
            seconds = await place_all(accounts, orders, places)
            sys.stdout.write(f"{seconds}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
