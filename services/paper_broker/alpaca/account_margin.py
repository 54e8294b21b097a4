"""Computes what a paper Alpaca account may spend: it is a margin account that lends as much as the account's own money.

A stock binds half of its value. A coin is paid in full: it binds no margin, and no money is lent for it.
"""

from decimal import Decimal
from typing import Final

from services.paper_broker.alpaca.instruments import CURRENCY, is_stock
from shared.exchange.accounts import Account
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import ZERO

MULTIPLIER: Final = 2
INITIAL_MARGIN: Final = Decimal("0.5")
"""The part of a stock's value that it binds."""
MAINTENANCE_MARGIN: Final = Decimal("0.3")


def value_held(exchange: Exchange, account: Account, *, stocks: bool) -> Decimal:
    """What the account holds in stocks, or in coins, in US dollars at present prices."""
    return sum(
        (
            account.holdings[each.base].total * exchange.price(each.symbol)
            for each in exchange.instruments.values()
            if each.quote == CURRENCY
            and is_stock(each) is stocks
            and each.base in account.holdings
            and account.holdings[each.base].total
        ),
        ZERO,
    )


def stock_buying_power(exchange: Exchange, account: Account) -> Decimal:
    """What the account may spend on stocks: twice the money that no stock binds, less what open orders hold."""
    cash = account.holding(CURRENCY)
    unbound = cash.total + value_held(exchange, account, stocks=True) * (1 - INITIAL_MARGIN)
    return MULTIPLIER * unbound - cash.hold


def buying_power(exchange: Exchange, account: Account, instrument: PaperInstrument) -> Decimal:
    """What the account may spend on purchases of an instrument."""
    return stock_buying_power(exchange, account) if is_stock(instrument) else account.free(instrument.quote)
