"""Builds a whole simulated exchange out of its parts, in memory unless a journal is given."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from shared.domain.symbol import Symbol
from shared.exchange.candles import Candles
from shared.exchange.charges import ChargeRates
from shared.exchange.clock import MarketClock, microseconds
from shared.exchange.exchange import BuyingPower, Exchange, Identifiers
from shared.exchange.instruments import INSTRUMENTS, PaperInstrument, legs_of
from shared.exchange.journal import Journal
from shared.exchange.market import MINUTE_MICROSECONDS, Market
from shared.exchange.prices import CandleReplay, CrossRate, PriceFeed, SeededWalk, StandingPrice
from shared.exchange.state import State

USUAL_FEES: Final = ChargeRates(taker=Decimal("0.0026"), maker=Decimal("0.0016"))
NUMBERED: Final = Identifiers(order_id=lambda number: f"order-{number}", fill_id=lambda number: f"fill-{number}")


def simulated_exchange(
    *,
    clock: Callable[[], int],
    instruments: Mapping[Symbol, PaperInstrument] = INSTRUMENTS,
    seed: int = 1,
    candles: Mapping[Symbol, Candles] | None = None,
    candle_microseconds: int = MINUTE_MICROSECONDS,
    market: MarketClock | None = None,
    started_at: int | None = None,
    fee_rates: ChargeRates = USUAL_FEES,
    identifiers: Identifiers = NUMBERED,
    state: State | None = None,
    buying_power: BuyingPower | None = None,
) -> Exchange:
    """An exchange whose prices begin at `started_at` (the clock's present time, if it is not given).

    `clock` returns microseconds since 1970. The prices of a symbol follow its entry in `candles`, or else a random
    walk that `seed` fixes. A pair of two coins follows the prices of both in money.
    One candle lasts `candle_microseconds`. `state` carries the accounts of an earlier run. `market`: the time of prices
    and candles. They pass at the times of the files then, and the pairs without a file stand. `buying_power`: for a
    broker that lends money.
    """
    if market is not None:
        started_at, candle_microseconds = market.starts_at, MINUTE_MICROSECONDS
    feeds: dict[Symbol, PriceFeed] = {}
    legs = {symbol: legs_of(instrument, instruments) for symbol, instrument in instruments.items()}
    for symbol, instrument in instruments.items():
        if legs[symbol] is not None:
            continue
        file = (candles or {}).get(symbol)
        if file is None:
            feeds[symbol] = SeededWalk(instrument, seed) if market is None else StandingPrice(instrument)
        else:
            history = (
                None if market is None else (market.starts_at - microseconds(file.starts_at)) // MINUTE_MICROSECONDS
            )
            feeds[symbol] = CandleReplay(instrument, file, history)
    for symbol, of_coins in legs.items():
        if of_coins is not None:
            feeds[symbol] = CrossRate(instruments[symbol], of_coins, feeds)
    return Exchange(
        instruments=instruments,
        market=Market(feeds, clock() if started_at is None else started_at, candle_microseconds),
        state=State(instruments, Journal()) if state is None else state,
        fee_rates=fee_rates,
        identifiers=identifiers,
        clock=clock,
        market_clock=market,
        buying_power=buying_power,
    )
