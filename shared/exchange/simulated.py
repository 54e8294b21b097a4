"""Builds a whole simulated exchange out of its parts, in memory unless a journal is given."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from shared.domain.symbol import Symbol
from shared.exchange.candles import Candles
from shared.exchange.charges import ChargeRates
from shared.exchange.clock import MarketClock, microseconds
from shared.exchange.exchange import BuyingPower, Exchange, Identifiers
from shared.exchange.instruments import INSTRUMENTS, PaperInstrument
from shared.exchange.journal import Journal
from shared.exchange.market import MINUTE_MICROSECONDS, Market
from shared.exchange.prices import CandleReplay, PriceFeed, SeededWalk, StandingPrice
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
    walk that `seed` fixes; one candle lasts `candle_microseconds`. `state` carries the accounts of an earlier run.
    `market`: the time of prices and candles. They pass at the times of the files then, and the pairs without a file
    stand. `buying_power`: for a broker that lends money.
    """
    if market is not None:
        started_at, candle_microseconds = market.starts_at, MINUTE_MICROSECONDS
    feeds: dict[Symbol, PriceFeed] = {}
    for symbol, instrument in instruments.items():
        file = (candles or {}).get(symbol)
        if file is None:
            feeds[symbol] = SeededWalk(instrument, seed) if market is None else StandingPrice(instrument)
        else:
            history = (
                None if market is None else (market.starts_at - microseconds(file.starts_at)) // MINUTE_MICROSECONDS
            )
            feeds[symbol] = CandleReplay(instrument, file, history)
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
