"""A pair of two coins is listed, priced and traded like any other pair; its quote is a coin that the account holds."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import OrderStatus
from shared.domain.copying.asset_moves import AssetTrade, asset_moves
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader, new_trader
from tests.contract.paper import PaperServer

PAIR = Symbol("ETH", "BTC")
HELD = {"ETH": "3", "BTC": "0.5"}
PRECISION = Decimal("1e-8")


@pytest.fixture
def coin_trader(terms: Terms, paper: PaperServer, connection: BrokerConnection) -> Trader:
    """An account with three ether and half a bitcoin, and without any money."""
    trader = new_trader(terms, paper, connection, HELD)
    trader.symbol = PAIR
    return trader


def test_the_pair_has_limits_in_its_own_currencies(connection: BrokerConnection) -> None:
    """The minimums are worth less than fifty dollars. They are not dollars that were taken for bitcoin."""
    instrument = connection.instruments()[PAIR]
    assert (instrument.base, instrument.quote) == ("ETH", "BTC")
    assert Decimal(0) < instrument.lot <= instrument.minimum_quantity <= Decimal("0.01")
    assert Decimal(0) <= instrument.minimum_cost <= Decimal("0.001")
    assert Decimal(0) < instrument.price_tick <= Decimal("0.00001")


async def test_the_price_agrees_with_both_coins_in_money(
    connection: BrokerConnection, terms: Terms, paper: PaperServer
) -> None:
    """One ether in bitcoin is its price in money divided by that of bitcoin, as soon as these are pinned."""
    ether = Symbol("ETH", terms.quote)
    paper.pin_price(ether, "2500")
    market = connection.market_data
    shown = [await market.last_price(symbol) for symbol in (PAIR, ether, terms.symbol)]
    assert [None if each is None else each.price for each in shown] == [Decimal("0.05"), 2_500, 50_000]
    book = await market.order_book(PAIR)
    assert Decimal("0.049") < book.bids[0].price < Decimal("0.05") < book.asks[0].price < Decimal("0.051")
    # What is offered is some ten thousand dollars' worth, and not as many bitcoins.
    assert Decimal("0.1") < book.asks[0].quantity * book.asks[0].price < Decimal(10)


@pytest.mark.parametrize("side", list(Side))
async def test_an_order_moves_both_coins_and_the_fee(coin_trader: Trader, terms: Terms, side: Side) -> None:
    """The report has the quantity in ether, the cost in bitcoin and the fee as the broker logs it.

    The account has changed by exactly that, and by nothing else.
    """
    report = await coin_trader.until_final(await coin_trader.account.place(coin_trader.order("0.5", side)))
    (logged,) = coin_trader.logged()
    assert (report.symbol, report.side, report.status) == (PAIR, side, OrderStatus.DONE)
    assert report.filled_quantity == Decimal("0.5") == Decimal(logged["filled"])
    assert abs(report.cost - Decimal(logged["cost"])) <= PRECISION
    assert Decimal("0.02") < report.cost < Decimal("0.04")
    assert report.fee_currency == logged["fee_currency"] == fee_currency(terms, side)
    assert abs(report.fee - Decimal(logged["fee"])) <= PRECISION
    assert report.fee > 0
    await has_moved(coin_trader, logged)


async def test_a_limit_order_spends_the_coin_up_to_its_price(coin_trader: Trader, terms: Terms) -> None:
    """An immediate purchase pays bitcoin at the market's price, which is at most its limit."""
    instrument = coin_trader.connection.instruments()[PAIR]
    limit = (Decimal("0.07")).quantize(instrument.price_tick)
    order = coin_trader.limit(limit, "0.25", time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    report = await coin_trader.until_final(await coin_trader.account.place(order))
    (logged,) = coin_trader.logged()
    assert report.filled_quantity == Decimal("0.25")
    assert report.cost < limit * report.filled_quantity
    assert report.fee_currency == fee_currency(terms, Side.BUY)
    await has_moved(coin_trader, logged)


@pytest.mark.parametrize("side", list(Side))
async def test_a_fill_has_what_the_broker_executed(coin_trader: Trader, terms: Terms, side: Side) -> None:
    """The fills, by which a master is watched, add up to the order."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    report = await coin_trader.until_final(await coin_trader.account.place(coin_trader.order("0.5", side)))
    fills = await coin_trader.account.fills_since(since)
    assert {(fill.symbol, fill.side, fill.order_id) for fill in fills} == {(PAIR, side, report.broker_order_id)}
    assert {fill.fee_currency for fill in fills} == {fee_currency(terms, side)}
    assert sum(fill.quantity for fill in fills) == report.filled_quantity
    assert abs(sum(fill.fee for fill in fills) - report.fee) <= PRECISION
    cost = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
    assert abs(cost - report.cost) <= PRECISION


def fee_currency(terms: Terms, side: Side) -> str:
    """Ether for a purchase where the fee is taken from what is received, else bitcoin."""
    return "ETH" if terms.fee_in_received and side is Side.BUY else "BTC"


async def has_moved(trader: Trader, logged: dict[str, str]) -> None:
    """Fail if the account has changed by anything else than this order of the broker's log."""
    trade = AssetTrade(
        Symbol.parse(logged["symbol"]),
        Side(logged["side"]),
        *(Decimal(logged[name]) for name in ("filled", "cost", "fee")),
        logged["fee_currency"],
    )
    balances = await trader.account.balances()
    moved = {asset: balances[asset].total - Decimal(held) for asset, held in HELD.items()}
    assert moved == asset_moves(trade)
