"""Tests that the gateway reads Kraken's fee tier, which Kraken gives in percent and for one pair."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount, HasFeeRates
from shared.domain.fees import FeeRates
from tests.support.recording_server import RecordingServer


def fees(taker: str, maker: str | None) -> dict[str, Any]:
    reported: dict[str, Any] = {"currency": "ZUSD", "volume": "12.5", "fees": {"XXBTZUSD": {"fee": taker}}}
    return reported if maker is None else reported | {"fees_maker": {"XXBTZUSD": {"fee": maker}}}


@pytest.mark.parametrize(
    ("taker", "maker", "rates"),
    [
        ("0.2600", "0.1600", ("0.0026", "0.0016")),
        ("0.0800", "0.0000", ("0.0008", "0")),
        ("0.2", None, ("0.002", "0.002")),
    ],
)
async def test_the_tier_is_read_as_fractions(
    server: RecordingServer, account: BrokerAccount, taker: str, maker: str | None, rates: tuple[str, str]
) -> None:
    """Percent becomes a fraction. One private request names the pair."""
    server.answers["TradeVolume"] = fees(taker, maker)
    assert isinstance(account, HasFeeRates)
    assert await account.fee_rates() == FeeRates(taker=Decimal(rates[0]), maker=Decimal(rates[1]))
    (request,) = server.sent_to("TradeVolume")
    assert request.fields["pair"] == "XXBTZUSD"


async def test_a_tier_that_cannot_be_read_is_an_error_and_no_zero(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller then keeps the default rates."""
    server.answers["TradeVolume"] = {"currency": "ZUSD", "fees": {}}
    assert isinstance(account, HasFeeRates)
    with pytest.raises(OutcomeUnknown):
        await account.fee_rates()
