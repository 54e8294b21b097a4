"""Reports the state of watching a master in the hash `master`, for `nija status`.

Fields: state, master_account, process, last_poll_at, consecutive_errors, last_error, last_error_at, equity, cash, held,
positions (US dollars), unpriced, equity_at, holdings (AccountHoldings), fee_taker, fee_maker (fractions), fees_at, watched_since,
published_sequence, updated_at.
"""

from collections.abc import Callable
from datetime import datetime

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT

from shared.domain.accounts.master_state import MasterState
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import plain
from shared.domain.capital.holdings import AccountHoldings
from shared.domain.fees import FeeRates
from shared.domain.identity import MasterAccount
from shared.messaging.keys import HOLDINGS_FIELD, LAST_POLL_FIELD, BrokerKeys

log = structlog.get_logger()


class Report:
    """Writes the view of one process. Only the holder of the lease may report."""

    def __init__(
        self, redis: Redis, keys: BrokerKeys, master_account: MasterAccount, process: str, now: Callable[[], datetime]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._constant = {"master_account": master_account, "process": process}
        self._now = now

    async def watching(self, *, watched_since: datetime, published_sequence: int | None) -> None:
        """Report a successful poll. If `published_sequence` is None, the old value stays."""
        fields = {
            "state": MasterState.WATCHING.value,
            LAST_POLL_FIELD: self._now().isoformat(),
            "consecutive_errors": "0",
            "watched_since": watched_since.isoformat(),
        }
        if published_sequence is not None:
            fields["published_sequence"] = str(published_sequence)
        await self._write(fields)

    async def equity(self, account: AccountSnapshot) -> None:
        """Report a valuation of the account."""
        await self._write(
            {
                "equity": plain(account.equity),
                "cash": plain(account.cash),
                "held": plain(account.held),
                "positions": plain(account.positions),
                "unpriced": ",".join(account.unpriced),
                "equity_at": account.taken_at.isoformat(),
            }
        )

    async def holdings(self, holdings: AccountHoldings) -> None:
        """Report what the account holds."""
        await self._write({HOLDINGS_FIELD: holdings.model_dump_json()})

    async def fees(self, rates: FeeRates) -> None:
        """Report the account's own fee tier, as read from the broker."""
        await self._write(
            {"fee_taker": plain(rates.taker), "fee_maker": plain(rates.maker), "fees_at": self._now().isoformat()}
        )

    async def trouble(self, state: MasterState, error: str, consecutive_errors: int) -> None:
        """Report a failure. It does not raise when Redis is away, because that may be the failure itself."""
        fields = {
            "state": state.value,
            "consecutive_errors": str(consecutive_errors),
            "last_error": error,
            "last_error_at": self._now().isoformat(),
        }
        try:
            await self._write(fields)
        except (RedisError, OSError) as unreported:
            log.warning("state not reported", state=state.value, error=str(unreported))

    async def stopped(self) -> None:
        """Report that the process ends in good order."""
        await self._write({"state": MasterState.STOPPED.value})

    async def _write(self, fields: dict[str, str]) -> None:
        everything = {**self._constant, **fields, "updated_at": self._now().isoformat()}
        mapping: dict[FieldT, EncodableT] = {name: value for name, value in everything.items()}  # noqa: C416 - types
        await self._redis.hset(self._keys.master, mapping=mapping)
