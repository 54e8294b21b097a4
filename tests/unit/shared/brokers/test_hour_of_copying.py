"""The rate limits of each broker carry an hour of copying: orders never wait, and every account is read in time."""

import pytest

from shared.config import Settings
from shared.domain.accounts.reading_schedule import READ_WITHIN_SECONDS
from shared.domain.identity import Broker
from tests.support.hour_of_copying import Copying, Hour

FOLLOWERS = {
    Broker.KRAKEN: 300,
    Broker.COINBASE: 3_000,
    Broker.OKX: 3_000,
    Broker.BINANCE: 1_500,
    Broker.ALPACA: 3_000,
}
PAIR = {"pair": "XXBTZUSD"}
INSTRUMENT = {"instId": "BTC-USDT"}
REQUESTS = {
    Broker.KRAKEN: Copying(
        order=[("private POST AddOrder", PAIR), ("private POST QueryOrders", {})],
        reading=[("private POST BalanceEx", {})],
        poll=[("private POST TradesHistory", {})],
        after_fill=[("private POST BalanceEx", {})],
        prices=[("public GET Ticker", {})],
    ),
    Broker.COINBASE: Copying(
        order=[("private POST brokerage/orders", {}), ("private GET brokerage/orders/historical/{order_id}", {})],
        reading=[("private GET brokerage/accounts", {})],
        poll=[("private GET brokerage/orders/historical/fills", {})],
        after_fill=[("private GET brokerage/accounts", {})],
        prices=[("public GET brokerage/market/products", {})],
    ),
    Broker.OKX: Copying(
        order=[("private POST trade/batch-orders", [INSTRUMENT]), ("private GET trade/order", INSTRUMENT)],
        reading=[("private GET account/balance", {})],
        poll=[("private GET trade/fills-history", {})],
        after_fill=[("private GET account/balance", {})],
        prices=[("public GET market/tickers", {})],
    ),
    Broker.BINANCE: Copying(
        order=[("private POST order", {})],  # the reply has the fills
        reading=[("private GET account", {})],
        poll=[("private GET account", {})],
        after_fill=[("private GET myTrades", {}), ("private GET account", {})],
        prices=[("public GET ticker/price", {})],
    ),
    Broker.ALPACA: Copying(
        order=[("private POST /orders", {}), ("private GET /orders/1", {})],
        reading=[("private GET /account", {}), ("private GET /positions", {})],
        poll=[("private GET /account/activities/FILL", {})],
        after_fill=[("private GET /account", {}), ("private GET /positions", {})],
        prices=[],  # the data API has a limit of its own
    ),
}


@pytest.mark.parametrize("broker", FOLLOWERS)
def test_an_hour_of_copying_fits_into_the_limits_of_the_broker(broker: Broker) -> None:
    """One master, a fill for all followers every 30 s: no order waits, no account is read late, no bucket is empty."""
    stale_after_seconds = Settings.model_fields["snapshot_max_age_seconds"].default
    results = Hour(broker, REQUESTS[broker], FOLLOWERS[broker], stale_after_seconds).run()
    assert results.orders == 120 * FOLLOWERS[broker]
    assert results.readings >= 4 * FOLLOWERS[broker]
    assert results.foreground_waits == 0
    assert results.stale_opens == 0
    assert results.oldest_seconds <= READ_WITHIN_SECONDS
    assert results.late_prices == 0
    assert results.lowest_share > 0, results.lowest_bucket


def test_no_account_is_starved_when_more_readings_are_due_than_the_limits_allow() -> None:
    """Binance, with every account due again one minute after each reading: four times what the limits allow."""
    broker = Broker.BINANCE
    results = Hour(broker, REQUESTS[broker], FOLLOWERS[broker] // 2, READ_WITHIN_SECONDS, 60.0).run(1_500)
    assert results.foreground_waits == results.late_prices == 0
    assert results.oldest_seconds <= READ_WITHIN_SECONDS
