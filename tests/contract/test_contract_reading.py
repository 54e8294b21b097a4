"""Every gateway reads markets, balances, fills and key permissions in the same form."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from shared.brokers.errors import BrokerError, KeyRefused
from shared.brokers.port.account import HasMargin, KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.equity import snapshot
from shared.domain.fill import Side
from tests.contract.brokers import Terms
from tests.contract.conftest import ORDERS_BETWEEN_PAUSES, PRICE, Trader, new_trader
from tests.contract.paper import PaperServer
from tests.support.prices import dollar_prices


def test_markets_have_canonical_symbols_lots_and_minimums(terms: Terms, connection: BrokerConnection) -> None:
    """Symbols have the form BASE/QUOTE, whatever the broker calls the pair."""
    instrument = connection.instruments()[terms.symbol]
    assert (instrument.broker, instrument.base, instrument.quote) == (terms.broker, "BTC", terms.quote)
    assert 0 < instrument.lot <= Decimal("0.0001")
    assert instrument.price_tick > 0
    assert instrument.minimum_quantity > 0
    assert all("/" in symbol for symbol in connection.instruments())


async def test_markets_are_loaded_again_under_way(trader: Trader) -> None:
    """A reload of the markets disturbs neither open orders nor accounts nor prices.

    A reload that fails keeps the instruments that were listed before.
    """
    trader.fault("late_fill", seconds=0.5)
    order_id = await trader.account.place(trader.order("0.01"))
    connection, listed = trader.connection, dict(trader.connection.instruments())
    await connection.reload()
    assert connection.instruments() == listed
    assert (await trader.until_final(order_id)).filled_quantity == Decimal("0.01")
    trader.paper.fault("http_error", count=None)
    with pytest.raises(BrokerError):
        await connection.reload()
    trader.paper.ask("DELETE", "faults")
    assert connection.instruments() == listed
    again = replace(trader, account=connection.account(trader.credentials))
    report = await again.until_final(await again.account.place(trader.order("0.01", Side.SELL)))
    assert report.filled_quantity == Decimal("0.01")
    assert (await dollar_prices(connection, "BTC"))["BTC"] == PRICE


async def test_equity_is_cash_and_holds_and_positions(
    terms: Terms, paper: PaperServer, connection: BrokerConnection
) -> None:
    """Positions are valued at the last price. A coin without a price is reported as such."""
    trader = new_trader(terms, paper, connection, {terms.quote: "1000.50", "BTC": "0.2"})
    balances = await trader.account.balances()
    prices = await dollar_prices(connection, *balances, "NOTLISTED")
    assert "NOTLISTED" not in prices
    assert prices["BTC"] == PRICE
    account = snapshot(balances, prices, datetime.now(UTC))
    assert account.cash == Decimal("1000.50")
    assert account.positions == Decimal("0.2") * PRICE
    assert account.equity == account.cash + account.held + account.positions


async def test_what_an_open_order_holds_is_not_free(trader: Trader) -> None:
    """What an open order holds counts in the total but not as free."""
    trader.fault("late_fill", seconds=60)
    order_id = await trader.account.place(trader.order("0.1", Side.SELL))
    bitcoin = (await trader.account.balances())["BTC"]
    assert (bitcoin.total, bitcoin.free) == (Decimal("0.5"), Decimal("0.4"))
    await trader.account.cancel(order_id, trader.symbol)
    bitcoin = (await trader.account.balances())["BTC"]
    assert bitcoin.free == bitcoin.total == Decimal("0.5")


async def test_balances_follow_a_buy_to_the_last_digit(trader: Trader, terms: Terms) -> None:
    """Fee and cost in the report explain the whole change of the balances."""
    before = await trader.account.balances()
    report = await trader.until_final(await trader.account.place(trader.order("0.0123")))
    after = await trader.account.balances()
    fee_in_coin = report.fee if report.fee_currency == "BTC" else Decimal(0)
    fee_in_quote = report.fee - fee_in_coin
    assert after["BTC"].total - before["BTC"].total == report.filled_quantity - fee_in_coin
    spent = before[terms.quote].total - after[terms.quote].total
    assert abs(spent - report.cost - fee_in_quote) <= Decimal("0.0001")


async def test_fills_since_a_moment_are_all_of_them_in_order(trader: Trader, terms: Terms) -> None:
    """All fills since a moment are returned once, oldest first, even if they fill more than one page.

    No fill from before is among them, and together they have the ordered quantity.
    """
    await trader.until_final(await trader.account.place(trader.order("0.002")))
    earlier = await trader.account.fills_since(datetime.now(UTC) - timedelta(hours=1))
    since = earlier[-1].executed_at + timedelta(microseconds=1)
    orders = terms.page_size + 5
    order_ids = []
    for number in range(orders):
        if number % ORDERS_BETWEEN_PAUSES == 0:
            trader.paper.pause()
        order_ids.append(await trader.account.place(trader.order(terms.small_quantity)))
    await trader.until_final(order_ids[-1])
    fills = await trader.account.fills_since(since)
    assert [fill.executed_at for fill in fills] == sorted(fill.executed_at for fill in fills)
    assert len({fill.fill_id for fill in fills}) == len(fills)
    assert {fill.order_id for fill in fills} == set(order_ids)
    assert sum(fill.quantity for fill in fills) == Decimal(terms.small_quantity) * orders
    for fill in fills:
        assert (fill.symbol, fill.side) == (terms.symbol, Side.BUY)
        assert fill.fee_currency == terms.fee_currency(Side.BUY)
        assert fill.fee > 0
    everything = await trader.account.fills_since(earlier[0].executed_at)
    assert [fill.fill_id for fill in everything] == [fill.fill_id for fill in [*earlier, *fills]]


async def test_there_are_no_fills_where_nothing_was_traded(trader: Trader) -> None:
    """An account that never traded has an empty list of fills, and no error is raised."""
    assert await trader.account.fills_since(datetime.now(UTC) - timedelta(days=1)) == []


async def test_key_permissions_are_the_brokers_own(
    paper: PaperServer, connection: BrokerConnection, terms: Terms
) -> None:
    """The gateway reports whether a key may trade or withdraw.

    If the reading fails, the key counts as "may withdraw".
    """
    trading = new_trader(terms, paper, connection, {}, terms.trading_permissions)
    reading = new_trader(terms, paper, connection, {}, terms.reading_permissions)
    withdrawing = new_trader(terms, paper, connection, {}, terms.withdrawing_permissions)
    unseen = not terms.tells_permissions
    may_trade = await trading.account.key_permissions()
    may_read = await reading.account.key_permissions()
    assert may_trade == KeyPermissions(may_trade=True, may_withdraw=unseen, identity=may_trade.identity)
    assert may_read == KeyPermissions(may_trade=False, may_withdraw=unseen, identity=may_read.identity)
    assert (await withdrawing.account.key_permissions()).may_withdraw
    trading.fault("html", endpoint=terms.permissions_endpoint)
    assert (await trading.account.key_permissions()).may_withdraw


async def test_a_margin_account_reports_its_wallet_and_what_its_positions_bind(
    paper: PaperServer, connection: BrokerConnection, terms: Terms
) -> None:
    """Cash of 10,000 and 20 shares: half of the shares' value is bound, and the wallet is the equity. Elsewhere: none."""
    stock = terms.margin_stock
    owner = new_trader(terms, paper, connection, {terms.quote: "10000", **({stock: "20"} if stock else {})})
    reading = await owner.account.margin() if isinstance(owner.account, HasMargin) else None
    if stock is None:
        assert reading is None
        return
    assert reading is not None
    value = 20 * reading.entry_prices[stock]
    assert reading.facts.most_leverage == 2
    # The price moves between the two requests of a reading.
    assert abs(reading.facts.wallet - 10_000 - value) < value / 100
    assert abs(reading.facts.used - value / 2) < value / 100


async def test_all_keys_of_an_account_have_its_identity(
    paper: PaperServer, connection: BrokerConnection, terms: Terms
) -> None:
    """The gateway reports the broker's own id of the account."""
    one, other = paper.new_shared_account(f"two-keys-{uuid4().hex}", {})
    same = {(await connection.account(key).key_permissions()).identity for key in (one, other)}
    stranger = new_trader(terms, paper, connection, {}, terms.trading_permissions)
    others = (await stranger.account.key_permissions()).identity
    assert len(same) == 1
    assert None not in {*same, others}
    assert others not in same


async def test_a_key_that_may_only_read_cannot_trade(
    paper: PaperServer, connection: BrokerConnection, terms: Terms
) -> None:
    """The error is `KeyRefused` instead of a rejected order, so that the key is reported."""
    reading = new_trader(terms, paper, connection, {terms.quote: "1000"}, terms.reading_permissions)
    with pytest.raises(KeyRefused):
        await reading.account.place(reading.order())
    assert reading.logged() == []
