"""Says for each special follower and each fill what is right, and compares it with what nija did. Pure.

The right size follows from the paper broker's own log: what the follower and the master held, and what was paid. nija's
planner has no part in it. The ledger only shows how each copy ended. Quantities are in base currency.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from services.demo.as_they_are import SpecialFollower
from services.demo.audit import BrokerOrder
from services.demo.broker_log import move
from services.demo.market_moments import MarketMoment
from shared.domain.accounts.reading_schedule import READ_WITHIN_SECONDS
from shared.domain.accounts.refused_key import RETRY_AFTER
from shared.domain.amounts import ONE, ZERO, plain
from shared.domain.cash import closable_asset, is_paid_with_coin
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, FillReport

COPIED: Final = "copied"
PENDING: Final = "pending"
PRICES_DIFFER: Final = Decimal("0.02")
"""What prices may move between the fill and its copy, as a share: the limit of an open, its fee, and a second or two."""
AFTER_LOSSES: Final = Decimal("0.15")
"""The same share while processes or servers are away."""
READING_LASTS: Final = timedelta(seconds=READ_WITHIN_SECONDS)
"""After a loss of Redis, an account is valued as it was read up to this long ago, before it has paid many fees."""
SELLABLE: Final = Decimal("0.9")
"""An open must be large enough that nine tenths of it can be sold."""
SMALLEST_DOLLARS: Final = ONE
"""The usual policy's minimum for an open."""
CLOCKS_DIFFER: Final = timedelta(seconds=5)
HELD_UP: Final = frozenset(
    reason.value
    for reason in (
        SkipReason.TOO_OLD,
        SkipReason.PRICE_LIMIT,
        SkipReason.EXIT_FOLLOWED,
        SkipReason.NOT_REPEATED,
        SkipReason.ACCOUNT_UNKNOWN,
        SkipReason.ACCOUNT_UNAVAILABLE,
        SkipReason.MASTER_EQUITY_UNKNOWN,
    )
)
"""Why an open may end when processes or servers were away. Without that, none of these is right."""


class KeyRefusalTime(NamedTuple):
    """A time during which the broker refused a key."""

    since: datetime
    until: datetime


class Conditions(NamedTuple):
    """What the run was like."""

    disturbed: bool = False
    """Whether processes, servers or brokers were away: copies may then be late, and opens smaller or skipped."""
    refusals: Sequence[KeyRefusalTime] = ()
    prices_by_name: bool = False
    """Whether the broker shows prices of named assets only. After a loss of Redis, a coin then has none for a while."""
    max_age: timedelta = OpenLimits().max_age


@dataclass
class SpecialResult:
    """How the copies of one special follower ended, and which of them are wrong."""

    right: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """`copied`, `pending`, or the reason of a skip or failure."""
    wrong: list[str] = field(default_factory=list)
    """What came, and what is right."""

    @property
    def copies(self) -> int:
        return self.ends.total()


class _Right(NamedTuple):
    """How a copy may end, and how much it may order."""

    ends: frozenset[str]
    least: Decimal = ZERO
    most: Decimal = ZERO
    wanted: Decimal = ZERO
    """The size of an open before it is cut. All of it is owed if it is below the minimum."""


class _Account:
    """One special follower, fill by fill: what it holds and what was copied, by the broker's log."""

    def __init__(
        self, special: SpecialFollower, held: Mapping[str, Decimal], conditions: Conditions, doubt_lots: int
    ) -> None:
        self._special = special
        self._held = dict(held)
        self._conditions = conditions
        self._doubt_lots = doubt_lots
        self._copied: dict[str, Decimal] = defaultdict(Decimal)
        self._owed: dict[str, Decimal] = defaultdict(Decimal)
        self._values: list[tuple[datetime, Decimal]] = []
        """What the account was worth at each fill."""
        self._unspent: dict[str, Decimal] = defaultdict(Decimal)
        """By coin, what exits should have taken and did not."""
        self._has_sold = False
        self.result = SpecialResult()

    def take(
        self,
        fill: FillReport,
        copy: CopyLine,
        orders: Sequence[BrokerOrder],
        moment: MarketMoment,
        instrument: Instrument,
    ) -> None:
        """Judge the copy of a fill, then take over what its orders changed."""
        end = _end(copy)
        self._values.append((fill.executed_at, moment.value(self._held)))
        spends_coin = is_paid_with_coin(fill.symbol, Side(fill.side))
        if spends_coin:
            right = self._right_spending(fill, instrument)
        elif fill.side == "buy":
            right = self._right_open(fill, moment, instrument)
        else:
            right = self._right_exit(fill, instrument)
        right = self._with_exceptions(right, fill, copy)
        ordered = sum((order.quantity for order in orders), ZERO)
        self._apply(fill, orders, instrument)
        if fill.side == "buy" and not spends_coin and end in (COPIED, SkipReason.BELOW_MINIMUM):
            self._owed[fill.symbol.base] = ZERO if end == COPIED else right.wanted
        wrong = _difference(right, end, ordered) or self._unsold(fill, end, instrument)
        self.result.ends[end] += 1
        self.result.right += not wrong
        if wrong:
            self.result.wrong.append(f"{self._special.name} fill {fill.sequence} ({fill.side}): {wrong}")

    def _right_open(self, fill: FillReport, moment: MarketMoment, instrument: Instrument) -> _Right:
        """An open in the size of the account, cut to the cash; or the reason why it is not worth an order."""
        if self._special.never is not None:
            return _Right(frozenset({self._special.never.value}))
        share = fill.quantity * moment.value(self._held) / moment.master_equity
        wanted = self._owed[fill.symbol.base] + share
        cash = self._held.get(fill.symbol.quote, ZERO) / fill.price
        size = min(wanted, cash)
        if instrument.maximum_quantity is not None:
            size = min(size, instrument.maximum_quantity)
        smallest = max(instrument.minimum_quantity, instrument.minimum_cost / fill.price) / SELLABLE
        smallest = max(smallest, SMALLEST_DOLLARS / fill.price)
        margin = AFTER_LOSSES if self._conditions.disturbed else PRICES_DIFFER
        low, high = ONE - margin, max(ONE + margin, self._most_by_old_readings(fill.executed_at))
        ends = set()
        if wanted * low < smallest:
            ends.add(SkipReason.BELOW_MINIMUM.value)
        if wanted * high > smallest > cash * low:
            ends.add(SkipReason.NO_QUOTE_CASH.value)
        if size * high > smallest:
            ends.add(COPIED)
        if self._conditions.disturbed and cash * low < wanted:
            ends.add(FailReason.INSUFFICIENT_FUNDS.value)
        least = ZERO if self._conditions.disturbed else size * low - instrument.lot
        return _Right(frozenset(ends), least, size * high, wanted)

    def _most_by_old_readings(self, at: datetime) -> Decimal:
        """How much larger an open may be because the account was worth more at the reading that sizes it."""
        value = self._values[-1][1]
        if not self._conditions.disturbed or value <= ZERO:
            return ONE
        return max(each for since, each in self._values if at - since <= READING_LASTS) / value * (ONE + PRICES_DIFFER)

    def _right_exit(self, fill: FillReport, instrument: Instrument) -> _Right:
        """The share of what was copied that the master sold of its own. Coins of its own do not count."""
        held = self._copied[fill.symbol.base]
        unsold = min(self._unspent[fill.symbol.base], held)
        self._unspent[fill.symbol.base] = (held - unsold) * fill.fraction_closed + unsold
        self._owed[fill.symbol.base] *= ONE - fill.fraction_closed
        if held <= self._doubt(instrument) or not fill.fraction_closed:
            dust = {SkipReason.BELOW_MINIMUM.value} if held else set()
            return _Right(frozenset({SkipReason.NO_POSITION.value, *dust}))
        due = held * fill.fraction_closed
        ends = {COPIED}
        if not instrument.is_orderable(due * SELLABLE, fill.price):
            ends.add(SkipReason.BELOW_MINIMUM.value)
        return _Right(frozenset(ends), ZERO, held + self._doubt(instrument))

    def _right_spending(self, fill: FillReport, instrument: Instrument) -> _Right:
        """A purchase that is paid with a coin spends the share of the copied coin that the master spent of its own.

        The price limit and the fee leave a part of it unspent. The next exit of the coin takes that part, too.
        """
        coin = fill.symbol.quote
        held, unspent = self._copied[coin], min(self._unspent[coin], self._copied[coin])
        self._owed[coin] *= ONE - fill.fraction_closed
        due = (held - unspent) * fill.fraction_closed + unspent
        self._unspent[coin] = due
        pays_for = due / fill.price
        if not due or not fill.fraction_closed:
            return _Right(frozenset({SkipReason.NO_POSITION.value}))
        ends = {COPIED}
        if not instrument.is_orderable(pays_for * SELLABLE, fill.price):
            ends.add(SkipReason.BELOW_MINIMUM.value)
        if self._conditions.disturbed:
            return _Right(frozenset(ends), ZERO, held / fill.price + self._doubt(instrument))
        return _Right(frozenset(ends), pays_for * (ONE - PRICES_DIFFER) - instrument.lot, pays_for + instrument.lot)

    def _with_exceptions(self, right: _Right, fill: FillReport, copy: CopyLine) -> _Right:
        """Add what is right only because something was away, or because the key was refused."""
        if fill.side != "buy":
            return right
        ends = set(right.ends)
        if self._conditions.disturbed:
            ends |= HELD_UP
            if self._special.never is SkipReason.NO_QUOTE_CASH:
                # Redis lost what the account holds, so the broker refused the order and said the same.
                ends.add(FailReason.INSUFFICIENT_FUNDS.value)
            if self._has_sold and self._special.never is None:
                # The proceeds of a sale that was found after a loss count only from the next reading on.
                ends.add(SkipReason.NO_QUOTE_CASH.value)
            if self._conditions.prices_by_name and self._special.assets:
                ends.add(SkipReason.BELOW_MINIMUM.value)
        ended_at = copy.ended_at
        if ended_at is not None and ended_at - fill.executed_at < self._conditions.max_age - CLOCKS_DIFFER:
            ends.discard(SkipReason.TOO_OLD.value)
        if self._special.key_is_refused and self._was_refused(ended_at):
            ends.add(SkipReason.KEY_REFUSED.value)
        return right._replace(ends=frozenset(ends))

    def _was_refused(self, at: datetime | None) -> bool:
        """Whether the key was refused at that time, or was not tried yet since then."""
        lasts = RETRY_AFTER + CLOCKS_DIFFER
        return at is not None and any(each.since <= at <= each.until + lasts for each in self._conditions.refusals)

    def _apply(self, fill: FillReport, orders: Sequence[BrokerOrder], instrument: Instrument) -> None:
        for order in orders:
            before = dict(self._copied)
            move(self._held, order, order.filled)
            self._has_sold |= order.side == "sell" and order.filled > ZERO
            move(self._copied, order, order.filled)
            # What was not copied cannot be lowered: a fee in a third asset takes coins of the follower's own.
            self._copied |= {asset: max(quantity, ZERO) for asset, quantity in self._copied.items()}
            closed = closable_asset(fill.symbol, Side(fill.side))
            taken = max(before.get(closed, ZERO) - self._copied[closed], ZERO)
            self._unspent[closed] = max(self._unspent[closed] - taken, ZERO)
        if (
            fill.side == "sell"
            and fill.fraction_closed == ONE
            and self._copied[fill.symbol.base] <= self._doubt(instrument)
        ):
            self._copied[fill.symbol.base] = ZERO  # less than a lot cannot be sold

    def _unsold(self, fill: FillReport, end: str, instrument: Instrument) -> str:
        """What a full close has left although it could be sold; "" for nothing."""
        if fill.side == "buy":
            return ""
        left = self._copied[fill.symbol.base]
        if fill.fraction_closed != ONE or end != COPIED or not instrument.is_orderable(left * SELLABLE, fill.price):
            return ""
        return f"copied, and {plain(left)} {instrument.base} is left; right: nothing"

    def _doubt(self, instrument: Instrument) -> Decimal:
        return instrument.lot * self._doubt_lots


def compare_special(
    specials: Iterable[SpecialFollower],
    held_at_start: Mapping[str, Mapping[str, Decimal]],
    fills: Sequence[FillReport],
    copies: Sequence[CopyLine],
    orders: Sequence[BrokerOrder],
    moment_of: Mapping[int, MarketMoment],
    instruments: Mapping[Symbol, Instrument],
    conditions: Conditions,
    doubt_lots: int = 1,
) -> dict[str, SpecialResult]:
    """Compare each special follower, by name. `moment_of`: by the fill's sequence. `orders`: the broker's log.

    A fill that the ledger lacks, or a copy that a follower lacks, is left to the other comparison.
    """
    by_id: dict[str | None, list[BrokerOrder]] = defaultdict(list)
    for order in orders:
        by_id[order.client_order_id].append(order)
    of_follower: dict[str, dict[int, CopyLine]] = defaultdict(dict)
    for copy in copies:
        of_follower[copy.follower_id][copy.sequence] = copy
    results: dict[str, SpecialResult] = {}
    for special in specials:
        account = _Account(special, held_at_start[special.name], conditions, doubt_lots)
        for fill in sorted(fills, key=lambda each: each.sequence):
            found, moment = of_follower[special.name].get(fill.sequence), moment_of.get(fill.sequence)
            if found is not None and moment is not None:
                account.take(fill, found, by_id[found.copy_order_id], moment, instruments[fill.symbol])
        results[special.name] = account.result
    return results


def _end(copy: CopyLine) -> str:
    if copy.skip_reason is not None:
        return copy.skip_reason
    if copy.outcome is None:
        return PENDING
    return COPIED if copy.outcome == COPIED else copy.reason or copy.outcome


def _difference(right: _Right, end: str, ordered: Decimal) -> str:
    """What came and what is right; "" if they agree."""
    if end not in right.ends:
        return f"{end}; right: {' or '.join(sorted(right.ends))}"
    if end == COPIED and not right.least <= ordered <= right.most:
        size = f"at most {plain(round(right.most, 8))}"
        if right.least > ZERO:
            size = f"{plain(round(right.least, 8))} to {plain(round(right.most, 8))}"
        return f"ordered {plain(ordered)}; right: {size}"
    return ""
