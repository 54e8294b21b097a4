"""Samples an account: it stores the snapshot, moves the drawdown record and returns what has changed.

This is the half of the capital monitor that observes. The half that acts on ORANGE and RED is a part of the process that
trades the account: `services/strategy_trader/margin.py`.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog
from redis.exceptions import RedisError

from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.history import SNAPSHOT_EVERY
from shared.domain.capital.margin import MarginStatus, margin_status
from shared.domain.capital.sampling import Sample, next_sample
from shared.persistence.capital import CapitalStore
from shared.persistence.errors import DatabaseUnavailable
from shared.queries.capital.accounts import read_account
from shared.queries.capital.errors import AccountNotRead, NoSuchAccount
from shared.queries.capital.sources import AccountName, Clock, utc_now
from shared.queries.connections import Connections
from shared.running import wait

RETRY_SECONDS: Final = 2.0
"""When a sample is tried again that could not be stored."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SampledAccount:
    """An account, and the sample of it that was stored."""

    account: AccountFacts
    margin: MarginStatus
    sample: Sample


def sample(connections: Connections, name: AccountName, now: Clock = utc_now) -> SampledAccount | None:
    """Store a sample of an account if one is due; None: another process has stored one a moment ago.

    Raises AccountNotRead when the account is not watched at the moment or its equity is unknown: nothing is stored then.
    Raises NoSuchAccount, RedisError, DatabaseUnavailable.
    """
    store = CapitalStore(connections.engine)
    with store.locked(name.broker, name.account) as stored:
        # Under the lock, so that no process stores an older reading after a newer one.
        account, moment = read_account(connections, name, now()), now()
        record, watched_since = stored.record(), stored.watched_since()
        if record is not None and not record.is_due(moment):
            return None
        if watched_since is None or account.reading.is_old(moment):
            raise AccountNotRead(f"the account {name} is not watched at the moment")
        read_at = account.reading.holdings.read_at
        fills = [] if record is None else stored.fills_between(record.read_at, read_at)
        found = next_sample(record, stored.last_snapshot(), account.reading, fills, watched_since, moment)
        stored.store(found.record, found.snapshot)
    return SampledAccount(account.facts, margin_status(account.facts), found)


async def monitor_capital(connections: Connections, name: AccountName, stopping: asyncio.Event) -> None:
    """Sample an account every 30 s until `stopping`. No failure ends it, and none reaches the watch of the account."""
    while not stopping.is_set():
        started_seconds = monotonic()
        pause_seconds = SNAPSHOT_EVERY.total_seconds()
        try:
            found = await asyncio.to_thread(sample, connections, name)
        except (AccountNotRead, NoSuchAccount) as error:
            log.debug("account not sampled", account=str(name), reason=str(error))
            pause_seconds = RETRY_SECONDS
        except (RedisError, OSError, DatabaseUnavailable) as error:
            log.warning("account not sampled", account=str(name), reason=str(error))
            pause_seconds = RETRY_SECONDS
        except Exception:
            # A defect here must not stop the copying of fills.
            log.exception("account not sampled", account=str(name))
        else:
            for change in found.sample.changes if found is not None else ():
                log.warning(
                    "capital changed",
                    account=str(name),
                    what=change.kind.value,
                    before=change.before,
                    after=change.after,
                )
        await wait(stopping, started_seconds + pause_seconds - monotonic())
