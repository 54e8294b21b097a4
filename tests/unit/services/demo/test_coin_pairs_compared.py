"""Tests that both comparisons know a pair of two coins, and that a wrong copy in it is found.

The master has 100,000 dollars and buys 1 BTC. With 0.4 BTC it buys 8 ETH, sells half of them for BTC, and then sells
all its BTC and all its ETH for dollars. The follower has a tenth of the master's money, of which 0.05 BTC are coins of its own.
The price limit leaves 0.0005 BTC of its purchase unspent.
"""

from decimal import Decimal
from typing import Final

import pytest

from services.demo.as_they_are import SpecialFollower
from services.demo.audit import AuditReport, BrokerFill, BrokerOrder, audit
from services.demo.market_moments import MarketMoment
from services.demo.right_copies import Conditions, SpecialResult, compare_special
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, FillReport
from tests.unit.services.demo import ledger_lines

D = Decimal
BITCOIN: Final = Symbol("BTC", "USD")
ETHER: Final = Symbol("ETH", "USD")
PAIR: Final = Symbol("ETH", "BTC")
PRICES: Final = {BITCOIN: D(40_000), ETHER: D(2_000), PAIR: D("0.05")}
OWN: Final = D("0.05")
FOLLOWER: Final = SpecialFollower(FollowerId("anna"), "", cash=D(8_000), assets={"BTC": OWN})
LOT: Final = D("0.00000001")
TRADES: Final = [
    # symbol, side, the master's quantity, the share that it closes, the follower's quantity
    (BITCOIN, "buy", "1", "0", "0.1"),
    (PAIR, "buy", "8", "0.4", "0.79"),
    (PAIR, "sell", "4", "0.5", "0.395"),
    (BITCOIN, "sell", "0.8", "1", "0.08025"),
    (ETHER, "sell", "4", "1", "0.395"),
]
STRICT: Final = Conditions()
DISTURBED: Final = Conditions(disturbed=True)
CARRIED: Final = {2: D("0.0005")}
"""By fill, the exit that is carried after it. The sale that follows is of ether, of which none is carried."""


def fills() -> list[FillReport]:
    """The master's fills."""
    return [
        ledger_lines.fill(number, side, quantity, share).model_copy(update={"symbol": symbol, "price": PRICES[symbol]})
        for number, (symbol, side, quantity, share, _) in enumerate(TRADES, start=1)
    ]


def copies(**changed: str) -> list[CopyLine]:
    """The follower's copies, as the ledger has them."""
    return [
        ledger_lines.copied(
            number,
            side,
            changed.get(f"_{number}", quantity),
            symbol=symbol,
            carried_exit_after=CARRIED.get(number, D(0)),
        )
        for number, (symbol, side, _, _, quantity) in enumerate(TRADES, start=1)
    ]


def orders(**changed: str) -> list[BrokerOrder]:
    """The follower's orders in the broker's log; `_2="0.9"` changes the quantity of the second one."""
    made = []
    for number, (symbol, side, _, _, usual) in enumerate(TRADES, start=1):
        quantity = D(changed.get(f"_{number}", usual))
        made.append(
            BrokerOrder(
                account="anna",
                client_order_id=f"order-{number}",
                symbol=symbol,
                side=side,
                quantity=quantity,
                filled=quantity,
                cost=quantity * PRICES[symbol],
                fee=D(0),
                fee_currency=symbol.quote,
            )
        )
    return made


def audited(**changed: str) -> AuditReport:
    """The ledger agrees with the broker's log, so that only the positions can show what is wrong."""
    return audit(
        fills(),
        copies(**changed),
        orders(**changed),
        [BrokerFill(account="master", fill_id=f"T{number}") for number in range(1, len(TRADES) + 1)],
        master_account="master",
        followers=1,
        equity_before={number: D(100_000) for number in range(1, len(TRADES) + 1)},
        lots=dict.fromkeys(PRICES, LOT),
    )


def special(conditions: Conditions = STRICT, **changed: str) -> SpecialResult:
    """The comparison of a special follower, with the same orders."""
    prices = {"USD": D(1), "BTC": PRICES[BITCOIN], "ETH": PRICES[ETHER]}
    instruments = {
        symbol: Instrument(
            broker=Broker.KRAKEN,
            symbol=symbol,
            base=symbol.base,
            quote=symbol.quote,
            lot=LOT,
            price_tick=D("0.00001"),
            minimum_quantity=D("0.0001"),
            minimum_cost=D(0),
        )
        for symbol in PRICES
    }
    held = FOLLOWER.balances(Broker.KRAKEN)
    moments = {each.sequence: MarketMoment(prices, D(100_000)) for each in fills()}
    found = compare_special(
        [FOLLOWER], {"anna": held}, fills(), copies(**changed), orders(**changed), moments, instruments, conditions
    )
    return found["anna"]


def test_a_sound_copy_of_the_pair_has_nothing_to_show() -> None:
    """What the price limit left unspent is carried, the next exit sells it, and nothing is left at the end."""
    found = audited()
    assert (found.missing, found.duplicates, found.mismatched, found.open_positions) == (0, 0, 0, 0)
    assert found.max_position_error_lots == 0
    result = special()
    assert result.wrong == []
    assert result.ends == {"copied": 5}


@pytest.mark.parametrize(
    "changed",
    [
        {"_2": "0.395"},  # it spends half of the share
        {"_2": "0.9"},  # it spends more than the share, but only copied coins
        {"_2": "2.5"},  # it spends coins of its own
        {"_2": "0"},  # it spends nothing
    ],
)
def test_another_purchase_with_a_coin_is_found(changed: dict[str, str]) -> None:
    """A copy that spends another share of the coin is wrong in both comparisons, even if the ledger says the same."""
    assert audited(**changed).max_position_error_lots > 1_000
    assert special(**changed).wrong


@pytest.mark.parametrize("changed", [{"_3": "0.2"}, {"_3": "0.79"}])
def test_another_sale_for_a_coin_is_found(changed: dict[str, str]) -> None:
    """A sale of another share of the ether is a position error."""
    assert audited(**changed).max_position_error_lots > 1_000


def test_a_purchase_with_own_coins_is_found_even_after_losses() -> None:
    """Where processes were away, a copy may be smaller. It is never larger than what was copied."""
    assert special(DISTURBED).wrong == []
    first = special(DISTURBED, _2="2.5").wrong[0]
    assert first.startswith("anna fill 2 (buy): ordered 2.5")


def test_the_proceeds_of_a_sale_for_a_coin_belong_to_the_copied_coin() -> None:
    """A last sale without what the ether brought leaves bitcoin behind, and that is found."""
    assert audited(_4="0.0605").max_position_error_lots > 1_000
    assert "is left; right: nothing" in special(_4="0.0605").wrong[0]
