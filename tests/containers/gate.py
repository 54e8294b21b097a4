"""Starts a container that lets the tests reach servers on an internal network of a Compose project.

Redis and PostgreSQL publish no port, and that stays so: the tests change no service that they judge. The gate is one
more container on both networks, with two ports on loopback.
"""

from collections.abc import Mapping
from typing import Any, Final

REDIS_PORT: Final = 6379
POSTGRES_PORT: Final = 5432
_FORWARD = """
import asyncio, contextlib, sys

async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

async def forward(host, port):
    async def connected(reader, writer):
        try:
            there = await asyncio.wait_for(asyncio.open_connection(host, port), 5)
        except (OSError, TimeoutError):
            writer.close()
            return
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
    server = await asyncio.start_server(connected, '0.0.0.0', port)
    await server.serve_forever()

async def main():
    await asyncio.gather(*(forward(*target.split(':')) for target in sys.argv[1:]))

asyncio.run(main())
"""


def gate(redis: str, postgres: str, *, inside: str, outside: str) -> Mapping[str, Any]:
    """The gate as a Compose service, to the services `redis` and `postgres` on the network `inside`."""
    return {
        "command": ["python", "-P", "-c", _FORWARD, f"{redis}:{REDIS_PORT}", f"{postgres}:{POSTGRES_PORT}"],
        "healthcheck": {"disable": True},
        "networks": [inside, outside],
        "ports": [f"127.0.0.1::{REDIS_PORT}", f"127.0.0.1::{POSTGRES_PORT}"],
        "stop_grace_period": "1s",
    }
