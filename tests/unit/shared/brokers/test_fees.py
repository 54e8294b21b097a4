"""Tests the table of default fees, and that an account's own tier replaces it."""

from decimal import Decimal

import pytest

from shared.brokers.registry import profile_of
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass


@pytest.mark.parametrize(
    ("broker", "taker", "round_trip", "worthwhile"),
    [
        (Broker.COINBASE, "0.006", "0.014", "0.016"),
        (Broker.KRAKEN, "0.0026", "0.0062", "0.0082"),
        (Broker.ALPACA, "0", "0.001", "0.003"),
        (Broker.OKX, "0.0015", "0.004", "0.006"),
        (Broker.BINANCE, "0.001", "0.003", "0.005"),
    ],
)
def test_the_table(broker: Broker, taker: str, round_trip: str, worthwhile: str) -> None:
    """Taker, round trip and smallest worthwhile profit are what the table says."""
    fees = profile_of(broker).fees
    assert (fees.taker, fees.round_trip, fees.smallest_worthwhile_profit) == (
        Decimal(taker),
        Decimal(round_trip),
        Decimal(worthwhile),
    )


def test_alpaca_takes_a_fee_for_crypto_and_none_for_stocks() -> None:
    """The symbol decides."""
    assert profile_of(Broker.ALPACA).fees_of(AssetClass.STOCK).taker == 0
    assert profile_of(Broker.ALPACA).fees_of(AssetClass.COIN).taker == Decimal("0.0025")


def test_an_accounts_own_tier_replaces_the_default() -> None:
    """Round trip and worthwhile profit follow it; without one, the default stands."""
    default = profile_of(Broker.COINBASE).fees
    own = default.with_rates(FeeRates(taker=Decimal("0.012"), maker=Decimal("0.006")))
    assert own.round_trip == Decimal("0.026")
    assert own.smallest_worthwhile_profit == Decimal("0.028")
    assert default.with_rates(None) == default
