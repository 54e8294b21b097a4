"""Reports what a master's account holds, so that questions about capital need no request to the broker."""

from collections.abc import Mapping
from decimal import Decimal

import structlog

from services.master_trader.poll import Reading
from services.master_trader.report import Report
from shared.brokers.errors import BrokerError
from shared.brokers.port.account import BrokerAccount, HasMargin
from shared.domain.capital.holdings import AccountHoldings

log = structlog.get_logger()


async def report_holdings(
    account: BrokerAccount, reading: Reading, named_values: Mapping[str, Decimal | None], report: Report
) -> None:
    """Report a reading of the account, with its margin where the broker lends money.

    A margin account whose margin cannot be read is not reported: without it, the account would look like a spot account.
    Raises RedisError.
    """
    try:
        margin = await account.margin() if isinstance(account, HasMargin) else None
    except BrokerError as error:
        log.info("margin not read", error=str(error))
        return
    await report.holdings(
        AccountHoldings(
            free=reading.account.free,
            total=reading.totals,
            margin=None if margin is None else margin.facts,
            entry_prices={} if margin is None else margin.entry_prices,
            named_values={asset: value for asset, value in named_values.items() if value is not None},
            ignored=frozenset(asset for asset, value in named_values.items() if value is None),
            read_at=reading.account.taken_at,
        )
    )
