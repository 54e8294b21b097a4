"""Tests how holdings become an account that is valued by present prices."""

from decimal import Decimal

from shared.domain.accounts.master_value import MasterPrices, UnknownEquity
from shared.domain.capital.facts import AccountFacts, MarginFacts
from shared.domain.capital.holdings import AccountHoldings, account_facts
from tests.support.capital import instrument_of
from tests.support.examples import NOW

INSTRUMENTS = {asset: instrument_of(asset) for asset in ("BTC", "ETH")}
PRICES = MasterPrices(current={"BTC": Decimal(50_000), "ETH": Decimal(2_000), "EUR": Decimal("1.1")})


def holdings(**changes: object) -> AccountHoldings:
    """1,000 free and 500 held dollars, and a tenth of a bitcoin."""
    fields: dict[str, object] = {
        "free": {"USD": "1000", "BTC": "0.1"},
        "total": {"USD": "1500", "BTC": "0.1"},
        "read_at": NOW,
    }
    return AccountHoldings.model_validate({**fields, **changes})


def valued(found: AccountHoldings, prices: MasterPrices = PRICES) -> AccountFacts:
    facts = account_facts(found, prices, INSTRUMENTS)
    assert isinstance(facts, AccountFacts)
    return facts


def test_an_account_is_worth_its_cash_and_its_positions_at_the_present_price() -> None:
    """Held dollars count in the equity, and not as free cash. The position has the pair, the quantity and the price."""
    account = valued(holdings())
    assert (account.equity, account.free_cash, account.read_at) == (6_500, 1_000, NOW)
    (position,) = account.positions
    assert (position.instrument.symbol, position.quantity, position.price) == ("BTC/USD", Decimal("0.1"), 50_000)
    assert not position.opened_by_nija
    assert position.entry_price is None


def test_money_in_another_currency_is_cash_and_no_position() -> None:
    """Euros count as free cash at their price, and stablecoins at par."""
    money = {"USD": "100", "EUR": "200", "USDT": "50"}
    account = valued(holdings(free=money, total=money))
    assert (account.equity, account.free_cash, account.positions) == (370, 370, ())


def test_an_account_with_an_asset_of_unknown_price_has_an_unknown_equity() -> None:
    """It is never valued without the asset, unless the operator ignores it."""
    total = {"USD": "1500", "ODD": "7"}
    assert account_facts(holdings(total=total), PRICES, INSTRUMENTS) == UnknownEquity(("ODD",))
    ignoring = holdings(total=total, ignored={"ODD"})
    assert valued(ignoring, MasterPrices(current={}, ignored=ignoring.ignored)).equity == 1_500


def test_a_position_without_a_pair_against_cash_counts_in_the_equity() -> None:
    """It cannot be traded, so it is not listed among the positions."""
    account = valued(holdings(total={"ODD": "7"}), MasterPrices(current={"ODD": Decimal(3)}))
    assert (account.equity, account.positions) == (21, ())


def test_entry_prices_and_margin_of_the_broker_are_kept() -> None:
    """The profit of the position is that at the present price."""
    margin = MarginFacts(wallet="6000", used="2500", most_leverage="2")
    account = valued(holdings(margin=margin, entry_prices={"BTC": "45000"}))
    assert account.margin == margin
    assert account.positions[0].unrealized == 500
