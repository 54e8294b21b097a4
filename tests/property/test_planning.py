"""Tests the laws of planning and positions that hold for every fill, lot and minimum."""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.domain.accounts.equity import Balance, snapshot, totals_before_fills
from shared.domain.accounts.master_value import MasterPrices
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.free_cash import affordable, is_worth_opening
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.plan import exit_quantity
from shared.domain.copying.reasons import SkipReason
from shared.domain.copying.traded_position import apply_fill
from shared.domain.fill import AccountFill, Side
from shared.domain.instrument import AssetClass, Instrument
from tests.support.examples import NOW, a_fill, a_follower, an_account, an_account_fill, an_instrument
from tests.support.plans import planned_columns
from tests.support.settling import settled_position

# The rounding error of 28-digit decimals for numbers below 10^9. It is far less than any lot.
TINY = Fraction(1, 10**15)


def amounts(smallest: str, largest: str, places: int = 8) -> st.SearchStrategy[Decimal]:
    """Amounts in that range with `places` decimal places."""
    return st.decimals(Decimal(smallest), Decimal(largest), allow_nan=False, places=places)


LOTS = st.sampled_from([Decimal(lot) for lot in ("0.00000001", "0.0001", "0.001", "0.1", "1", "0.25", "0.003")])
PRICES = amounts("0.01", "100000", places=2)
INSTRUMENTS = st.builds(
    an_instrument,
    lot=LOTS,
    minimum_quantity=amounts("0", "2", places=4),
    minimum_cost=amounts("0", "20", places=2),
)
MINIMUM_NOTIONALS = amounts("0", "50", places=2)


@given(
    INSTRUMENTS,
    MINIMUM_NOTIONALS,
    PRICES,
    amounts("1", "1000000", 2),
    st.lists(amounts("0.00000001", "10"), max_size=12),
)
def test_nothing_owed_is_lost_or_invented(
    instrument: Instrument, minimum: Decimal, price: Decimal, equity: Decimal, quantities: list[Decimal]
) -> None:
    """Ordered + carried = the sum of all that is owed. Each order is in whole lots and can be sold again."""
    follower = a_follower(minimum_notional=minimum)
    carried, ordered, owed = ZERO, ZERO, Fraction(0)
    for quantity in quantities:
        fill = a_fill(quantity=quantity, price=price, master_equity_before="7000000")
        owed += Fraction(quantity) * Fraction(equity) / 7000000
        planned = planned_columns(
            fill, follower, an_account(equity), instrument, carried, now=NOW, snapshot_max_age=timedelta(minutes=1)
        )
        if planned.quantity is not None:
            assert planned.skip_reason is None
            assert planned.quantity % instrument.lot == 0
            assert is_worth_opening(instrument, planned.quantity, price, minimum)
            assert planned.carried_after < instrument.lot
            ordered += planned.quantity
        else:
            assert planned.skip_reason is SkipReason.BELOW_MINIMUM
            assert not is_worth_opening(instrument, instrument.rounded(planned.carried_after), price, minimum)
        carried = planned.carried_after
        assert carried >= 0
        assert abs(Fraction(ordered) + Fraction(carried) - owed) < TINY


POSITIONS = st.tuples(amounts("0", "50"), amounts("0", "1", 4)).map(
    lambda drawn: CopiedPosition(quantity=drawn[0], carried_exit=drawn[0] * drawn[1])
)


@given(amounts("0.0001", "1", 4), POSITIONS, INSTRUMENTS, PRICES)
@settings(max_examples=300)
def test_an_exit_never_sells_more_than_the_position_and_forgets_nothing(
    fraction: Decimal, position: CopiedPosition, instrument: Instrument, price: Decimal
) -> None:
    """Sold + carried = due.

    A partial exit that sells leaves no remainder that is too small to sell. A full close leaves less than a lot.
    """
    planned = exit_quantity(fraction, position, instrument, price)
    due = Fraction(position.carried_exit) + Fraction(fraction) * Fraction(position.quantity - position.carried_exit)
    assert 0 <= planned.quantity <= position.quantity
    assert planned.quantity % instrument.lot == 0
    assert abs(Fraction(planned.quantity) + Fraction(planned.carried_exit_after) - due) < TINY
    assert planned.carried_exit_after >= 0
    left = position.quantity - planned.quantity
    assert planned.carried_exit_after <= left
    assert (planned.quantity == 0) == (planned.skip_reason is not None)
    if planned.quantity:
        assert instrument.is_orderable(planned.quantity, price)
        if fraction == 1:
            assert left < instrument.lot
        elif left:
            assert instrument.is_orderable(left, price)
    elif position.quantity and fraction == 1:
        assert not instrument.is_orderable(instrument.rounded(position.quantity), price)


@given(POSITIONS, st.sampled_from(Side), amounts("0.01", "50"), amounts("0", "0.01"), amounts("0", "60"), INSTRUMENTS)
def test_a_settled_position_is_never_short_and_never_carries_more_than_it_has(
    position: CopiedPosition, side: Side, filled: Decimal, fee: Decimal, due: Decimal, instrument: Instrument
) -> None:
    """This holds for every executed quantity and every fee that is taken in the coin."""
    moved = settled_position(position, side, filled, fee, due, instrument)
    assert 0 <= moved.carried_exit <= moved.quantity
    if side is Side.BUY:
        assert moved.quantity == position.quantity + filled - fee
        assert moved.carried_exit == position.carried_exit
    else:
        lost = max(position.quantity - filled - fee, ZERO) - moved.quantity
        assert 0 <= lost < instrument.lot


MASTER_EQUITY = Decimal(10**9)
"""More than any of its purchases costs."""


@dataclass
class Life:
    """A master and a follower over many fills. The broker executes each order at once and in full."""

    instrument: Instrument
    price: Decimal
    minimum: Decimal
    coin_fee: Decimal = ZERO
    ratio: Decimal = Decimal("0.0137")
    traded: Decimal = ZERO
    copied: CopiedPosition = field(default_factory=lambda: CopiedPosition(quantity=ZERO, carried_exit=ZERO))
    carried: Decimal = ZERO
    target: Fraction = Fraction(0)

    def master_fills(self, side: Side, quantity: Decimal) -> None:
        """Plan, execute and settle one fill of the master for the follower."""
        fill = an_account_fill(side=side, quantity=quantity, price=self.price)
        change = apply_fill({"BTC": self.traded}, fill)
        self.traded = change.after
        self._copy(
            a_fill(
                side=side,
                quantity=quantity,
                price=self.price,
                master_equity_before=MASTER_EQUITY,
                fraction_closed=change.fraction_closed,
            )
        )

    def _copy(self, fill: MasterFill) -> None:
        if fill.side is Side.BUY:
            self.target += Fraction(fill.quantity) * Fraction(self.ratio)
        else:
            self.target *= 1 - Fraction(fill.fraction_closed)
        planned = planned_columns(
            fill,
            a_follower(minimum_notional=self.minimum),
            an_account(self.ratio * MASTER_EQUITY),
            self.instrument,
            self.carried,
            now=NOW,
            snapshot_max_age=timedelta(minutes=1),
        )
        self.carried = planned.carried_after
        if planned.quantity is not None:
            fee = planned.quantity * self.coin_fee
            self.target -= Fraction(fee)
            self.copied = settled_position(self.copied, Side.BUY, planned.quantity, fee, ZERO, self.instrument)
        elif planned.fraction is not None:
            self._exit(planned.fraction)

    def _exit(self, fraction: Decimal) -> None:
        sale = exit_quantity(fraction, self.copied, self.instrument, self.price)
        if sale.skip_reason is not None:
            self.copied = CopiedPosition(quantity=self.copied.quantity, carried_exit=sale.carried_exit_after)
            return
        due = sale.quantity + sale.carried_exit_after
        self.copied = settled_position(self.copied, Side.SELL, sale.quantity, ZERO, due, self.instrument)

    def error(self) -> Fraction:
        """The distance between target and position, with all carried quantities included, in base currency."""
        held = Fraction(self.copied.quantity) - Fraction(self.copied.carried_exit) + Fraction(self.carried)
        return abs(held - self.target)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(Side.BUY), amounts("0.001", "300", 3)),
        st.tuples(
            st.just(Side.SELL), st.sampled_from([Decimal(f) for f in ("0.01", "0.3", "0.5", "0.95", "0.999", "1", "3")])
        ),
    ),
    max_size=25,
)


def live(life: Life, steps: list[tuple[Side, Decimal]]) -> None:
    """Let the master trade. The size is a quantity for a purchase, and a share of the traded position for a sale."""
    for side, size in steps:
        quantity = size if side is Side.BUY else (life.traded * size).quantize(Decimal("0.00000001"))
        if quantity > 0:
            life.master_fills(side, quantity)
            assert life.error() < life.instrument.lot
            assert life.copied.carried_exit <= life.copied.quantity


@given(STEPS, INSTRUMENTS, PRICES, MINIMUM_NOTIONALS)
@settings(max_examples=250, deadline=None)
def test_a_whole_life_keeps_to_the_target_and_ends_at_zero(
    steps: list[tuple[Side, Decimal]], instrument: Instrument, price: Decimal, minimum: Decimal
) -> None:
    """After each fill, the error is below a lot. After the last full close, the rest is too small for an order."""
    life = Life(instrument, price, minimum)
    live(life, steps)
    if life.traded > 0:
        life.master_fills(Side.SELL, life.traded)
    assert life.traded == 0
    assert life.carried == 0
    rest = life.copied.quantity
    assert rest == 0 or not instrument.is_orderable(instrument.rounded(rest), price)
    assert rest == life.copied.carried_exit or not steps


@given(STEPS, INSTRUMENTS, PRICES)
@settings(max_examples=150, deadline=None)
def test_fees_taken_in_the_coin_do_not_pile_up(
    steps: list[tuple[Side, Decimal]], instrument: Instrument, price: Decimal
) -> None:
    """The broker keeps 0.15% of each purchase. The error stays below a lot, and at the end nothing sellable is left."""
    life = Life(instrument, price, Decimal(1), coin_fee=Decimal("0.0015"))
    live(life, steps)
    assume(life.traded > 0)
    life.master_fills(Side.SELL, life.traded)
    rest = life.copied.quantity
    assert rest == 0 or not instrument.is_orderable(instrument.rounded(rest), price)


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), amounts("0.001", "2", 3), amounts("10", "90000", 2)), min_size=1, max_size=10
    ),
    st.sampled_from(["USD", "BTC", "KFEE"]),
)
def test_holdings_before_fills_are_what_a_reading_before_each_would_have_said(
    trades: list[tuple[Side, Decimal, Decimal]], fee_currency: str
) -> None:
    """Unwinding from the last fill gives exactly the equities of a simulation from the first fill."""
    totals = {"USD": Decimal(1_000_000), "BTC": Decimal(50), "ETH": Decimal(7), "KFEE": Decimal(100)}
    others = {"ETH": Decimal(2500)}
    fills: list[AccountFill] = []
    expected: list[Decimal] = []
    for side, quantity, price in trades:
        fill = an_account_fill(
            side=side, quantity=quantity, price=price, cost=quantity * price, fee="0.01", fee_currency=fee_currency
        )
        balances = {currency: Balance(free=total, total=total) for currency, total in totals.items()}
        expected.append(snapshot(balances, {**others, "BTC": price}, NOW).equity)
        sign = 1 if side is Side.BUY else -1
        totals["BTC"] += sign * quantity
        totals["USD"] -= sign * fill.cost
        totals[fee_currency] -= fill.fee
        fills.append(fill)
    assert [
        MasterPrices({**others, "BTC": fill.price}).equity({**held, "KFEE": ZERO})
        for fill, held in zip(fills, totals_before_fills(totals, fills), strict=True)
    ] == expected


@given(
    INSTRUMENTS,
    MINIMUM_NOTIONALS,
    st.sampled_from(["1", "0.05", "50000"]).map(Decimal),
    st.lists(
        st.tuples(amounts("0.00000001", "10"), PRICES, amounts("0.01", "1000000", 2), amounts("0.01", "100000", 2)),
        max_size=10,
    ),
)
@settings(max_examples=300, deadline=None)
def test_the_bounds_of_opens_always_hold(
    instrument: Instrument,
    minimum: Decimal,
    quote_price: Decimal,
    entries: list[tuple[Decimal, Decimal, Decimal, Decimal]],
) -> None:
    """Whatever the equities are, even ones that are much too small.

    All opens together are at most the scaled share of all entries. One order is at most its entry's part and the carry.
    A spot purchase costs at most the equity of its master, so no entry's part costs more than the follower's equity.
    """
    follower = a_follower(minimum_notional=minimum)
    carried, ordered, share = ZERO, Fraction(0), Fraction(0)
    for quantity, price, master_equity, equity in entries:
        fill = a_fill(quantity=quantity, price=price, master_equity_before=master_equity, quote_price=quote_price)
        planned = planned_columns(
            fill, follower, an_account(equity), instrument, carried, now=NOW, snapshot_max_age=timedelta(minutes=1)
        )
        part = Fraction(quantity) * Fraction(equity) / Fraction(master_equity)
        costs = Fraction(price) * Fraction(quote_price)
        share += part
        new = planned.quantity or ZERO
        ordered += Fraction(new)
        assert Fraction(new) <= Fraction(carried) + part
        assert (Fraction(new) + Fraction(planned.carried_after) - Fraction(carried)) * costs <= Fraction(equity)
        assert ordered + Fraction(planned.carried_after) <= share
        carried = planned.carried_after


@given(INSTRUMENTS, amounts("0", "1000000", 8), PRICES, amounts("0", "0.02", 4))
def test_an_open_never_costs_more_than_the_free_cash(
    instrument: Instrument, free: Decimal, limit_price: Decimal, fee: Decimal
) -> None:
    """At its limit price, and with the fee. One lot more could not be paid."""
    quantity = affordable(instrument, free, limit_price, fee)
    unit_cost = Fraction(limit_price) * (1 + Fraction(fee))
    assert Fraction(quantity) * unit_cost <= Fraction(free)
    assert Fraction(quantity + instrument.lot) * unit_cost > Fraction(free)


@given(
    PRICES,
    st.sampled_from([Decimal(tick) for tick in ("0.00000001", "0.01", "0.1", "0.25", "0.05", "1", "3", "100")]),
    st.sampled_from(["BTC", "ETH", "SOL"]),
    st.sampled_from(AssetClass),
    amounts("0.01", "100", 4),
)
def test_an_open_never_buys_above_its_price_limit(
    price: Decimal, tick: Decimal, base: str, asset_class: AssetClass, percent: Decimal
) -> None:
    """The limit price is on the tick, not above the limit, and less than one tick below it."""
    instrument = an_instrument(symbol=f"{base}/USD", base=base, price_tick=tick, asset_class=asset_class)
    limits = OpenLimits(margin=percent / 100, margin_of_liquid=Decimal("0.005"))
    limit_price = limits.highest_price(instrument, price)
    margin = Fraction(percent) / 100 if base == "SOL" else Fraction(5, 1000)
    assert Fraction(limit_price) <= Fraction(price) * (1 + margin)
    assert Fraction(limit_price) + Fraction(tick) > Fraction(price) * (1 + margin)
    # Stocks below one dollar have a finer tick.
    assert Fraction(limit_price) % (Fraction(tick) / (100 if asset_class is AssetClass.STOCK else 1)) == 0
