"""Logs a summary of all traders: how many brokers are connected, funded and traded, and how each one gets on."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from shared.domain.identity import Broker
from shared.queries.connections import Connections
from shared.queries.traders import TradersStatus, read_traders

log = structlog.get_logger()


async def log_summary(connections: Connections, enabled: Sequence[Broker], now: datetime) -> None:
    """Log the summary. Raises DatabaseUnavailable."""
    show_summary(await asyncio.to_thread(read_traders, connections, enabled, now))


def show_summary(status: TradersStatus) -> None:
    """Log one line for all brokers and one for each."""
    log.info(
        "status summary",
        total=status.total,
        connected=len(status.connected),
        funded=len(status.funded),
        active=len(status.active),
    )
    for each in status.traders:
        log.info(
            "status of a broker",
            of_broker=each.broker.value,
            status=each.status.value,
            trading=each.trading,
            why_not=each.why_not,
            cycles=f"{each.successful_cycles}/{each.cycles}",
            success_rate=f"{each.success_rate:.1%}",
            recent_errors=[error.text for error in each.errors],
        )
