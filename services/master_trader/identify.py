"""Finds out whether a master's key opens the account that was watched before.

Another account under the same name is another master: it is followed from now on, and its past is not copied.
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.known_orders import has_order
from shared.brokers.port.account import BrokerAccount
from shared.domain.amounts import Instant
from shared.domain.identity import MasterAccount
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.persistence.ledger.master_identity import KnownAccount, MasterIdentities

ALERT_LASTS: Final = timedelta(days=1)
"""Nothing ends this alert. An operator should have read it by then."""

log = structlog.get_logger()


async def identify(
    account: BrokerAccount,
    key_hash: str,
    identities: MasterIdentities,
    alerts: Alerts,
    keys: BrokerKeys,
    name: MasterAccount,
    now: Instant,
) -> None:
    """Compare the account that the key opens with the stored one, if the key has changed.

    Call it before fills are read. If another key was used before, BrokerError is raised while the broker does not report
    whose account the new one opens, because nothing may be copied until then. Raises DatabaseUnavailable and
    RedisError, too.
    """
    known = await asyncio.to_thread(identities.known, keys.broker, name)
    if known is not None and known.key_hash == key_hash:
        return
    permissions = await account.key_permissions()
    if not permissions.answered and permissions.identity is None:
        if known is None or known.key_hash is None:
            # There is nothing to compare with. The next start or error of the watch asks again.
            return
        raise OutcomeUnknown("the broker does not report whose account the master's new key opens")
    if known is None or await _is_same(account, known, permissions.identity):
        await asyncio.to_thread(identities.confirm, keys.broker, name, key_hash, permissions.identity, now)
        return
    what = (
        f"the key of {name} opens another account than before, or one that could not be shown to be the same. It is "
        f"followed from {now:%Y-%m-%d %H:%M:%S} UTC on. Earlier fills of it are not copied. What followers copied from "
        "the account before stays open"
    )
    log.error("another account is followed", account=name)
    # The alert comes first. After a crash in between, it is raised again.
    await alerts.sound(AlertKind.MASTER_CHANGED, name, what, since=now, until=now + ALERT_LASTS)
    await asyncio.to_thread(identities.replace, keys.broker, name, key_hash, permissions.identity, now)


async def _is_same(account: BrokerAccount, known: KnownAccount, identity: str | None) -> bool:
    if known.key_hash is None:
        # The checkpoint was made without a key.
        return True
    if known.identity is not None and identity is not None:
        return known.identity == identity
    last = known.last_order
    return last is not None and await has_order(account, last.broker_order_id, last.symbol)
