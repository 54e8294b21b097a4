"""What trading costs at each broker: the table of defaults, replaced by an account's own tier where it is told.

    round trip = 2 × taker + spread;  smallest worthwhile profit = round trip + 0.2 %

All rates are fractions of the notional: 0.0026 is 0.26 %.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import Amount
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass

WORTHWHILE_MARGIN: Final = Decimal("0.002")


class FeeRates(BaseModel):
    """An account's own tier, as its broker tells it."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount


class Fees(BaseModel):
    """What a trade costs."""

    model_config = ConfigDict(frozen=True)

    taker: Amount
    maker: Amount
    spread: Amount
    """Usual distance between bid and ask, paid once in a round trip."""

    @property
    def round_trip(self) -> Decimal:
        """Buying and selling again at market."""
        return 2 * self.taker + self.spread

    @property
    def smallest_worthwhile_profit(self) -> Decimal:
        return self.round_trip + WORTHWHILE_MARGIN

    def with_rates(self, rates: FeeRates | None) -> "Fees":
        """The same with the account's own tier; None: not told, so the default stands."""
        return self if rates is None else Fees(taker=rates.taker, maker=rates.maker, spread=self.spread)


def _fees(taker: str, maker: str, spread: str) -> Fees:
    return Fees(taker=Decimal(taker), maker=Decimal(maker), spread=Decimal(spread))


DEFAULT_FEES: Final[Mapping[Broker, Fees]] = {
    Broker.COINBASE: _fees("0.006", "0.006", "0.002"),
    Broker.KRAKEN: _fees("0.0026", "0.0016", "0.001"),
    Broker.OKX: _fees("0.0015", "0.001", "0.001"),
    Broker.BINANCE: _fees("0.001", "0.001", "0.001"),
    Broker.ALPACA: _fees("0", "0", "0.001"),
}
ALPACA_CRYPTO: Final = _fees("0.0025", "0.0015", "0.001")
"""Alpaca takes nothing for stocks only."""


def default_fees(broker: Broker, asset_class: AssetClass | None = None) -> Fees:
    """Return the default fees of a broker, for one class of assets where its fees differ by class."""
    if broker is Broker.ALPACA and asset_class is AssetClass.COIN:
        return ALPACA_CRYPTO
    return DEFAULT_FEES[broker]
