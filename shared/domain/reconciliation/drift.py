"""Finds drift: what an account holds of copied coins, compared with what the ledger says was copied. Pure.

A follower may hold more than was copied, because coins of its own are no drift. Drift is a copied coin that is not there.
Positions are of assets, and quantities are in the asset.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.identity import FollowerId
from shared.domain.reconciliation.readings import JUST_SETTLED, AccountReading, WaitingOrder


class Target(BaseModel):
    """What the ledger says that a follower holds of copies in one asset."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    asset: str
    quantity: Amount
    carried_exit: Amount
    sequence: int
    """Fill of the last order."""
    occurred_at: Instant
    """When that order was settled."""
    failed_exit: str | None = None
    """Why the last exit failed; None: it did not, or there was none."""


class Cause(StrEnum):
    """What a drift comes from, as far as it is known."""

    UNKNOWN_ORDER = "unknown_order"
    """It is not known yet what became of an order; the order is looked up."""
    PENDING_MAIL = "pending_mail"
    """Orders are under way; what the account holds is about to change."""
    JUST_SETTLED = "just_settled"
    """An order was settled a moment ago; the broker may show it late."""
    NOT_IN_LEDGER = "not_in_ledger"
    """The copied position of the worker differs from the one of the ledger: events are on their way."""
    FAILED_EXIT = "failed_exit"
    """The last exit failed; the next one sells its part too."""
    MANUAL_SALE = "manual_sale"
    """Less is there than was copied, and nija did not sell it."""
    STRAY_ORDER = "stray_order"
    """An order of nija is open at the broker, and no mailbox waits for it."""


_REPAIRABLE = frozenset({Cause.MANUAL_SALE, Cause.STRAY_ORDER})
_PASSES = frozenset({Cause.PENDING_MAIL, Cause.JUST_SETTLED})


class Drift(BaseModel):
    """One follower's asset that is not as it should be."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    asset: str
    cause: Cause
    target: Amount
    """Copied, by the ledger."""
    real: Amount
    """How much of it the account holds. For an unknown order it is all that the account holds of the coin."""
    drift: Amount
    """Negative: the account holds too little. Positive: an exit is still to be sold."""
    sequence: int
    detail: str = ""
    broker_order_id: str = ""
    """For a stray order only."""
    copy_order_id: str = ""
    """For a stray order only."""

    @property
    def is_repairable(self) -> bool:
        """Whether lowering the copied position to what is there, or canceling the stray order, is right."""
        return self.cause in _REPAIRABLE

    @property
    def needs_attention(self) -> bool:
        """Whether it stays until an operator acts. Unknown orders have an alert of their own."""
        return self.cause not in _PASSES and self.cause is not Cause.UNKNOWN_ORDER


def covered(copied: Mapping[str, Decimal], total: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """By asset, how much of what was copied the account holds; never more than was copied."""
    return {asset: min(quantity, max(total.get(asset, ZERO), ZERO)) for asset, quantity in copied.items()}


def copied_quantities(reading: AccountReading, targets: Iterable[Target]) -> dict[str, Decimal]:
    """Return what was copied, by asset: as the ledger has it, and as the worker has it where the ledger has nothing."""
    copied = {target.asset: target.quantity for target in targets}
    return copied | {asset: held.quantity for asset, held in reading.copied.items() if asset not in copied}


def drifts(
    reading: AccountReading, targets: Iterable[Target], lots: Mapping[str, Decimal], now: datetime
) -> list[Drift]:
    """Compare one follower's reading with its targets. `lots` by asset: less than a lot is no drift."""
    by_asset = {target.asset: target for target in targets}
    wanted = copied_quantities(reading, by_asset.values())
    found: list[Drift] = []
    for asset, real in sorted(covered(wanted, reading.total).items()):
        target = by_asset.get(asset)
        ours = [order for order in reading.waiting if asset in order.symbol.currencies]
        missing = wanted[asset] - real
        if missing > 0 and missing >= lots.get(asset, ZERO):
            cause, detail = _why_missing(reading, asset, target, ours, now)
            found.append(_drift(reading, asset, target, cause, wanted[asset], real, -missing, detail))
        elif any(order.stage == "unknown" for order in ours):
            detail, held = _unknown(ours), reading.total.get(asset, ZERO)
            found.append(_drift(reading, asset, target, Cause.UNKNOWN_ORDER, wanted[asset], held, ZERO, detail))
        elif target is not None and target.failed_exit is not None and target.carried_exit > 0:
            detail = target.failed_exit
            owed = target.carried_exit
            found.append(_drift(reading, asset, target, Cause.FAILED_EXIT, wanted[asset], real, owed, detail))
    unknown = [
        order
        for order in reading.waiting
        if order.stage == "unknown" and wanted.keys().isdisjoint(order.symbol.currencies)
    ]
    found += [
        _drift(
            reading,
            order.symbol.base,
            None,
            Cause.UNKNOWN_ORDER,
            ZERO,
            reading.total.get(order.symbol.base, ZERO),
            ZERO,
            _unknown([order]),
        )
        for order in unknown
    ]
    return found


def _why_missing(
    reading: AccountReading, asset: str, target: Target | None, ours: Sequence[WaitingOrder], now: datetime
) -> tuple[Cause, str]:
    if any(order.stage == "unknown" for order in ours):
        return Cause.UNKNOWN_ORDER, _unknown(ours)
    # Mail that cannot be read may be about any asset.
    if ours or reading.mail > len(reading.waiting):
        return Cause.PENDING_MAIL, f"{len(ours) or reading.mail} orders wait"
    believed = reading.copied.get(asset)
    if target is None or (believed.quantity if believed else ZERO) != target.quantity:
        return Cause.NOT_IN_LEDGER, "the ledger is behind, or Redis"
    if now - target.occurred_at < JUST_SETTLED:
        return Cause.JUST_SETTLED, f"the order of fill {target.sequence}"
    return Cause.MANUAL_SALE, "sold, moved or paid away outside nija"


def _unknown(orders: Sequence[WaitingOrder]) -> str:
    order = next(order for order in orders if order.stage == "unknown")
    since = f" since {order.submitted_at:%Y-%m-%d %H:%M:%S} UTC" if order.submitted_at else ""
    return f"{order.side} of fill {order.sequence}, order {order.copy_order_id}{since}"


def _drift(
    reading: AccountReading,
    asset: str,
    target: Target | None,
    cause: Cause,
    wanted: Decimal,
    real: Decimal,
    drift: Decimal,
    detail: str,
) -> Drift:
    return Drift(
        follower_id=reading.follower_id,
        asset=asset,
        cause=cause,
        target=wanted,
        real=real,
        drift=drift,
        sequence=target.sequence if target else 0,
        detail=detail,
    )
