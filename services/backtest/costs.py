"""Executes the orders of a backtest with the fees and lots of the simulated exchange."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.brokers.registry import profile_of
from shared.domain.amounts import ONE, plain
from shared.domain.errors import NijaError
from shared.domain.fees import Fees
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, FillId
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.symbol import Symbol
from shared.exchange.charges import ChargeRates, Terms
from shared.exchange.instruments import INSTRUMENTS


class UnknownBacktestSymbol(NijaError):
    """The simulated exchange lists no such symbol."""


@dataclass(frozen=True, slots=True)
class Venue:
    """Where a backtest trades: one symbol at one broker."""

    instrument: Instrument
    fees: Fees
    fee_in_base: bool
    """Whether the fee of a purchase is taken from the coin."""
    slippage: Decimal
    """Share of the price by which a market order is worse than the price it was sent at."""

    def execute(self, side: Side, quantity: Decimal, price: Decimal, at: datetime) -> AccountFill:
        """Fill an order for `quantity` base currency that is sent at this price, as a taker."""
        sign = 1 if side is Side.BUY else -1
        paid = price * (ONE + sign * self.slippage)
        fee_in_base = self.fee_in_base and side is Side.BUY
        terms = Terms(
            INSTRUMENTS[self.instrument.symbol],
            ChargeRates(self.fees.taker, self.fees.maker),
            side,
            fee_in_base,
        )
        cost = terms.cost(paid, quantity)
        return AccountFill(
            fill_id=FillId(f"backtest-{at.isoformat()}-{side.value}"),
            order_id="backtest",
            symbol=self.instrument.symbol,
            side=side,
            price=paid,
            quantity=quantity,
            cost=cost,
            fee=terms.fee(quantity, cost, is_maker=False),
            fee_currency=terms.fee_currency,
            executed_at=at,
        )

    def affordable(self, cash: Decimal, price: Decimal) -> Decimal:
        """Return the largest quantity that this cash pays for, at a price before slippage, with its fee."""
        worst = price * (ONE + self.slippage) * (ONE + self.fees.taker)
        return self.instrument.rounded(max(Decimal(0), cash) / worst)


def venue_of(broker: Broker, symbol: Symbol, slippage: Decimal | None = None) -> Venue:
    """Return the venue with the broker's default fees; without `slippage`, half of its usual spread.

    Raises UnknownBacktestSymbol for a symbol that the simulated exchange does not list.
    """
    listed = INSTRUMENTS.get(symbol)
    if listed is None:
        raise UnknownBacktestSymbol(
            f"{symbol} is not listed by the simulated exchange; it has: {', '.join(INSTRUMENTS)}"
        )
    profile = profile_of(broker)
    fees = profile.fees_of(AssetClass.COIN)
    return Venue(
        instrument=Instrument(
            broker=broker,
            symbol=symbol,
            base=listed.base,
            quote=listed.quote,
            lot=listed.lot,
            price_tick=listed.price_tick,
            minimum_quantity=listed.minimum_quantity,
            minimum_cost=listed.minimum_cost,
        ),
        fees=fees,
        fee_in_base=profile.purchase_fee_in_base,
        slippage=fees.spread / 2 if slippage is None else slippage,
    )


def assumptions_of(venue: Venue) -> tuple[str, ...]:
    """Name what a backtest takes for granted, for its report."""
    instrument, profile = venue.instrument, profile_of(venue.instrument.broker)
    paid_in = "the coin" if venue.fee_in_base else instrument.quote
    return (
        f"entries and exits of a close are executed at the next candle's open, {plain(venue.slippage * 100)} % worse",
        "within a candle the low comes before the high, so a stop comes before a target",
        "a stop or target that the open has passed is executed at the open, otherwise at its own price, both less slippage",
        f"every order is a taker and pays {plain(venue.fees.taker * 100)} %; the fee of a purchase is taken in {paid_in}",
        (
            f"lots of {plain(instrument.lot)} {instrument.base}, at least {plain(instrument.minimum_quantity)} "
            f"{instrument.base} and {plain(instrument.minimum_cost)} {instrument.quote} an order, as the paper brokers have them"
        ),
        "every order is filled as a whole and at once, whatever the volume of the candle was and whatever the gate planned",
        "the capital gate sees the order book that a paper broker shows at the close, because the file has none",
        "the 4-hour ATR comes from the file; until 15 candles of four hours are complete the gate has none, and rejects",
        "the gate sees a spot account with this symbol only, its own closed trades, and its drawdown at each close",
        f"{profile.title} is the only connected broker, so no entry is routed elsewhere; trading is never stopped",
        "each candle is decided on as soon as it counts as complete; no cycle is late or lost",
        "gaps of the file are not traded over: 300 candles without a gap are needed again after each",
    )
