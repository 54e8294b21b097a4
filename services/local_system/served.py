"""Waits after a start until the brokers are connected and served."""

import asyncio
from time import monotonic
from typing import Final

from shared.config import Settings
from shared.config.operator import open_connections
from shared.queries.brokers import read_expected_brokers

SERVED_SECONDS: Final = 30.0
"""How long a start waits for its brokers before it reports which of them are not served yet."""
_AGAIN_SECONDS: Final = 0.2


async def wait_until_served(settings: Settings, longest_seconds: float = SERVED_SECONDS) -> list[str]:
    """Wait until every broker is connected and served; return a line for each reason why one is not by then.

    A fill that is older than the first poll of the master's account is not copied, so a person must not be asked to
    trade before that poll.
    """
    deadline = monotonic() + longest_seconds
    with open_connections(settings, redis=True, check=False) as connections:
        while True:
            found = await asyncio.to_thread(read_expected_brokers, connections, settings.brokers)
            lines = [finding.line for facts in found for finding in facts.shortcomings()]
            if not lines or monotonic() > deadline:
                return lines
            await asyncio.sleep(_AGAIN_SECONDS)
