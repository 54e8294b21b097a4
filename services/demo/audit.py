"""Compares the ledger with a paper broker's own log: what nija recorded with what was executed.

Pure. The inputs are lines of the ledger and of the log. Quantities are in base currency.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO, Amount
from shared.domain.cash import is_cash, is_paid_with_coin
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.fill import Side
from shared.domain.identity import FillId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, FillReport

LIMITED: Final = frozenset(
    reason.value
    for reason in (
        FailReason.INSUFFICIENT_FUNDS,
        SkipReason.NO_QUOTE_CASH,
        SkipReason.TOO_OLD,
        SkipReason.PRICE_LIMIT,
        SkipReason.MARKET_CLOSED,
        SkipReason.EXIT_FOLLOWED,
    )
)
"""Why an open that was planned is not bought. Nothing of it is owed afterwards."""


class BrokerOrder(BaseModel):
    """An order as the broker's log has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    client_order_id: str | None
    symbol: Symbol
    side: str
    quantity: Amount = ZERO
    """The quantity that was ordered."""
    filled: Amount
    cost: Amount = ZERO
    limit_price: Amount | None = None
    """None: a market order."""
    fee: Amount = ZERO
    fee_currency: str = ""

    @classmethod
    def nothing(cls, symbol: Symbol, side: str) -> Self:
        """An order that was never placed."""
        return cls(account="", client_order_id=None, symbol=symbol, side=side, filled=ZERO)

    @property
    def moves(self) -> dict[str, Decimal]:
        """By coin, what the order has changed in the account, the fee included. Cash is left out."""
        sign = 1 if self.side == "buy" else -1
        changed: dict[str, Decimal] = defaultdict(Decimal)
        changed[self.symbol.base] += sign * self.filled
        changed[self.symbol.quote] -= sign * self.cost
        if self.fee_currency in self.symbol.currencies:
            changed[self.fee_currency] -= self.fee
        return {currency: change for currency, change in changed.items() if not is_cash(currency)}

    @property
    def fee_in_base(self) -> Decimal:
        """The part of the quantity bought or sold that was taken as the fee."""
        return self.fee if self.fee_currency == self.symbol.base else ZERO


class BrokerFill(BaseModel):
    """An execution as the broker's log has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    fill_id: FillId


class AuditReport(NamedTuple):
    """The result of the comparison. In a sound system, `missing`, `duplicates`, `mismatched` and `pending` are 0."""

    planned: int
    """Decisions to order."""
    copied: int
    skipped: int
    failed: int
    pending: int
    missing: int
    """Master fills that the ledger lacks, followers without a decision, and copied orders that the broker lacks."""
    duplicates: int
    """Orders at the broker beyond the first for one client order id, and orders that the ledger does not know."""
    cut: int
    """Opens that were bought in part: as much as the free cash paid for, or as was offered within the price limit."""
    mismatched: int
    """Orders whose executed quantity differs between ledger and broker."""
    max_position_error_lots: Decimal
    """Largest distance between a follower's position at the broker and its target, after any fill."""
    open_positions: int
    """Followers that still hold a copied position, by the broker's log."""


def audit(
    fills: Sequence[FillReport],
    copies: Sequence[CopyLine],
    broker_orders: Sequence[BrokerOrder],
    broker_fills: Sequence[BrokerFill],
    *,
    master_account: MasterAccount,
    followers: int,
    equity_before: Mapping[int, Decimal],
    lots: Mapping[Symbol, Decimal],
) -> AuditReport:
    """Compare. `equity_before` is the master's, by fill. `lots` are by symbol. `broker_orders` are those of followers
    only.
    """
    # Counted, not compared by id: some brokers number the fills of each symbol separately, so only the ledger's ids are
    # unique.
    executed = sum(1 for fill in broker_fills if fill.account == master_account)
    per_fill = Counter(copy.sequence for copy in copies)
    at_broker = Counter(order.client_order_id for order in broker_orders)
    by_id = {order.client_order_id: order for order in broker_orders}
    ordered = {copy.copy_order_id: copy for copy in copies if copy.skip_reason is None}
    copied = [copy for copy in ordered.values() if copy.outcome == "copied"]

    missing = max(0, executed - len(fills))
    missing += sum(max(0, followers - per_fill[fill.sequence]) for fill in fills)
    missing += sum(1 for copy in copied if copy.copy_order_id not in by_id)
    duplicates = sum(count - 1 for count in at_broker.values())
    duplicates += sum(1 for order_id in at_broker if order_id not in ordered)
    mismatched = sum(
        1
        for copy in ordered.values()
        if copy.outcome is not None and copy.filled_quantity != _filled(by_id.get(copy.copy_order_id))
    )
    error, open_positions = _positions(fills, copies, by_id, equity_before, lots)
    return AuditReport(
        planned=len(ordered),
        copied=len(copied),
        skipped=sum(1 for copy in copies if copy.skip_reason is not None or copy.outcome == "skipped"),
        failed=sum(1 for copy in ordered.values() if copy.outcome == "failed"),
        pending=sum(1 for copy in ordered.values() if copy.outcome is None),
        missing=missing,
        duplicates=duplicates,
        cut=sum(1 for copy in copied if _left_out(copy, by_id.get(copy.copy_order_id)) > 0),
        mismatched=mismatched,
        max_position_error_lots=error,
        open_positions=open_positions,
    )


def _filled(order: BrokerOrder | None) -> Decimal:
    return order.filled if order else ZERO


def _left_out(copy: CopyLine, order: BrokerOrder | None) -> Decimal:
    """The part of a planned open that its limits or the free cash left out. It is not carried."""
    if copy.side != "buy" or copy.skip_reason is not None:
        return ZERO
    is_limited = copy.outcome in ("skipped", "failed") and copy.reason in LIMITED
    is_cut = copy.outcome == "copied" and order is not None and order.limit_price is not None
    return max((copy.quantity or ZERO) - _filled(order), ZERO) if is_limited or is_cut else ZERO


def _positions(
    fills: Sequence[FillReport],
    copies: Sequence[CopyLine],
    by_id: Mapping[str | None, BrokerOrder],
    equity_before: Mapping[int, Decimal],
    lots: Mapping[Symbol, Decimal],
) -> tuple[Decimal, int]:
    """Compute every follower's position from the broker's log, and its target from the master's fills.

    The target is the position without lots and minimums. What is carried because of them belongs to the target and is
    no error. A purchase that is paid with a coin is an exit of that coin: the broker's log says what was spent.
    """
    by_fill: dict[int, list[CopyLine]] = defaultdict(list)
    for copy in copies:
        by_fill[copy.sequence].append(copy)
    lot_of: dict[str, Decimal] = {}
    for symbol, lot in lots.items():
        lot_of[symbol.base] = max(lot, lot_of.get(symbol.base, lot))
    target: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    actual: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    carried_exit: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    worst = ZERO
    for fill in sorted(fills, key=lambda each: each.sequence):
        base, quote = fill.symbol.currencies
        spends_coin = is_paid_with_coin(fill.symbol, Side(fill.side))
        asset = quote if spends_coin else base
        for copy in by_fill[fill.sequence]:
            key = copy.follower_id, asset
            order = by_id.get(copy.copy_order_id) or BrokerOrder.nothing(fill.symbol, fill.side)
            for currency, change in order.moves.items():
                actual[copy.follower_id, currency] += change
                if currency != asset:
                    # What the trade pays besides. Its size follows from the size of the exit, which is checked.
                    target[copy.follower_id, currency] += change
            if fill.side == "buy" and not spends_coin:
                target[key] -= order.fee_in_base  # each follower pays its own fee, so it is no error
                if copy.skip_reason in (None, "below_minimum") and copy.equity is not None:
                    target[key] += fill.quantity * copy.equity / equity_before[fill.sequence]
                target[key] -= _left_out(copy, order)
            else:
                target[key] *= ONE - fill.fraction_closed
            if copy.skip_reason is None and copy.outcome is not None:
                carried_exit[key] = copy.carried_exit_after
            if abs(actual[key]) < lot_of[asset] and copy.outcome == "copied" and fill.fraction_closed == 1:
                # Less than a lot cannot be sold. Where fees are taken in the coin, a close leaves such a rest.
                actual[key] = target[key] = ZERO
            owed = copy.carried_after - carried_exit[key]
            worst = max(worst, abs(target[key] - owed - actual[key]) / lot_of[asset])
    return worst, sum(1 for quantity in actual.values() if quantity != 0)
