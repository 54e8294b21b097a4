"""Tests what is right for each special follower, and that anything else is found.

The master has 100,000 dollars and buys 0.2 BTC at 40,000: 8 % of its account. It then sells it. Each follower has the
holdings of its kind, valued at 40,000 for a BTC and at the start prices of the paper broker for other coins.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from services.demo.as_they_are import (
    IN_CHAOS,
    LITTLE_CASH,
    MIXED_CASH,
    OTHER_CASH,
    OWN_COINS,
    REFUSED_KEY,
    TOO_SMALL,
    UNPRICED,
    SpecialFollower,
)
from services.demo.audit import BrokerOrder
from services.demo.market_moments import START_PRICES, MarketMoment
from services.demo.right_copies import Conditions, KeyRefusalTime, SpecialResult, compare_special
from shared.domain.identity import Broker, parse_follower_id
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, FillReport
from tests.unit.services.demo import ledger_lines
from tests.unit.services.demo.ledger_lines import NOW

BTC: Final = Symbol("BTC", "USD")
PRICE: Final = Decimal(40_000)
MOMENT: Final = MarketMoment({**START_PRICES, "BTC": PRICE}, Decimal(100_000))
INSTRUMENT: Final = Instrument(
    broker=Broker.KRAKEN,
    symbol=BTC,
    base="BTC",
    quote="USD",
    lot=Decimal("0.00000001"),
    price_tick=Decimal("0.1"),
    minimum_quantity=Decimal("0.00005"),
    minimum_cost=Decimal("0.5"),
)
STRICT: Final = Conditions()
DISTURBED: Final = Conditions(disturbed=True)
SCALED: Final = [
    (OWN_COINS, Decimal("0.03860")),  # 6,000 and 0.2 BTC and 2 ETH are worth 19,300
    (MIXED_CASH, Decimal("0.012")),  # 600 and 5,400 are 6,000
    (UNPRICED, Decimal("0.006")),  # 3,000; GIFT has no price
    (REFUSED_KEY, Decimal("0.008")),  # 4,000
]


def fill(sequence: int, side: str, quantity: str = "0.2") -> FillReport:
    """A fill of the master; a sale closes all of it."""
    return ledger_lines.fill(sequence, side, quantity, "1" if side == "sell" else "0")


def copy(follower: SpecialFollower, sequence: int, side: str, end: str, **changes: Any) -> CopyLine:
    """How a copy ended: `copied`, or with a reason of the worker."""
    values: dict[str, Any] = {
        "follower_id": follower.name,
        "outcome": "copied" if end == "copied" else "skipped",
        "reason": None if end == "copied" else end,
        "ended_at": NOW + timedelta(seconds=1),
    }
    return ledger_lines.copied(sequence, side, "0", **values | changes)


def order(follower: SpecialFollower, sequence: int, side: str, quantity: Decimal) -> BrokerOrder:
    """An order of that copy in the broker's log, executed at 40,000."""
    return BrokerOrder(
        account=follower.name,
        client_order_id=f"order-{sequence}",
        symbol=BTC,
        side=side,
        quantity=quantity,
        filled=quantity,
        cost=quantity * PRICE,
        fee=Decimal(0),
        fee_currency="USD",
    )


def compare(
    follower: SpecialFollower,
    fills: Sequence[FillReport],
    copies: Sequence[CopyLine],
    orders: Sequence[BrokerOrder] = (),
    conditions: Conditions = STRICT,
) -> SpecialResult:
    """Compare one follower."""
    return compare_special(
        [follower],
        {follower.name: follower.balances(Broker.KRAKEN)},
        fills,
        copies,
        orders,
        {each.sequence: MOMENT for each in fills},
        {BTC: INSTRUMENT},
        conditions,
    )[follower.name]


def bought(follower: SpecialFollower, quantity: Decimal, conditions: Conditions = STRICT) -> SpecialResult:
    """The follower bought this quantity."""
    orders = [order(follower, 1, "buy", quantity)]
    return compare(follower, [fill(1, "buy")], [copy(follower, 1, "buy", "copied")], orders, conditions)


def ended(follower: SpecialFollower, end: str, conditions: Conditions = STRICT, **changes: Any) -> SpecialResult:
    """The follower bought nothing, for this reason."""
    return compare(follower, [fill(1, "buy")], [copy(follower, 1, "buy", end, **changes)], (), conditions)


def test_each_kind_has_a_valid_name_of_its_own() -> None:
    """The names are ids of followers."""
    names = [special.name for special in IN_CHAOS]
    assert [parse_follower_id(name) for name in names] == names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("follower", "quantity"), SCALED, ids=lambda each: getattr(each, "name", ""))
def test_an_open_has_the_size_of_what_the_follower_owns(follower: SpecialFollower, quantity: Decimal) -> None:
    """Coins and other dollars count, and what has no price does not. A twentieth more or less is found."""
    assert bought(follower, quantity).wrong == []
    for factor in ("0.95", "1.05"):
        result = bought(follower, quantity * Decimal(factor))
        assert (result.right, result.copies) == (0, 1)
        assert f"{follower.name} fill 1 (buy): ordered 0.0" in result.wrong[0]


@pytest.mark.parametrize("follower", [each for each, _ in SCALED], ids=lambda each: each.name)
@pytest.mark.parametrize("end", ["below_minimum", "no_quote_cash", "paused", "too_old", "insufficient_funds"])
def test_an_open_that_the_follower_can_pay_is_not_skipped(follower: SpecialFollower, end: str) -> None:
    """Nothing was away, and there is enough cash."""
    assert ended(follower, end).wrong == [f"{follower.name} fill 1 (buy): {end}; right: copied"]


@pytest.mark.parametrize(
    ("follower", "reason"),
    [(OTHER_CASH, "no_quote_cash"), (LITTLE_CASH, "no_quote_cash"), (TOO_SMALL, "below_minimum")],
    ids=lambda each: getattr(each, "name", each),
)
def test_a_follower_that_must_be_skipped_is_skipped_for_its_reason(follower: SpecialFollower, reason: str) -> None:
    """Another reason is found, also that of the engine, and so is a purchase."""
    assert ended(follower, reason).wrong == []
    assert ended(follower, "", skip_reason=reason, outcome=None).wrong == []
    other = {"no_quote_cash": "below_minimum", "below_minimum": "no_quote_cash"}[reason]
    assert ended(follower, other).wrong == [f"{follower.name} fill 1 (buy): {other}; right: {reason}"]
    assert ended(follower, "", skip_reason="paused", outcome=None).right == 0
    assert bought(follower, Decimal("0.001")).right == 0


def test_an_all_in_purchase_is_cut_to_the_cash_of_the_follower() -> None:
    """6,000 in cash and 13,300 in coins: for 90 % of the account, the cash pays a third. Half of the cash is too little."""
    for quantity, is_right in (("0.1485", True), ("0.075", False), ("0.43", False)):
        result = compare(
            OWN_COINS,
            [fill(1, "buy", "2.25")],
            [copy(OWN_COINS, 1, "buy", "copied")],
            [order(OWN_COINS, 1, "buy", Decimal(quantity))],
        )
        assert (result.right == 1) is is_right, quantity


def test_what_comes_after_the_cash_is_spent_is_skipped() -> None:
    """The second fill of an all-in order finds no cash, which is right. Another purchase is not."""
    fills = [fill(1, "buy", "2.25"), fill(2, "buy", "0.1")]
    first = order(OWN_COINS, 1, "buy", Decimal("0.14997"))
    copies = [copy(OWN_COINS, 1, "buy", "copied"), copy(OWN_COINS, 2, "buy", "no_quote_cash")]
    assert compare(OWN_COINS, fills, copies, [first]).wrong == []
    copies[1] = copy(OWN_COINS, 2, "buy", "copied")
    second = order(OWN_COINS, 2, "buy", Decimal("0.0193"))
    assert compare(OWN_COINS, fills, copies, [first, second]).right == 1


def test_what_was_below_the_minimum_is_owed_with_the_next_open() -> None:
    """Two fills, each worth 1.20 dollars to the follower, are one order. A third that buys both again is found."""
    fills = [fill(number, "buy", "0.001") for number in (1, 2, 3)]
    below = copy(UNPRICED, 1, "buy", "", skip_reason="below_minimum", outcome=None)
    copies = [below, copy(UNPRICED, 2, "buy", "copied"), below.model_copy(update={"sequence": 3})]
    both = order(UNPRICED, 2, "buy", Decimal("0.00006"))
    assert compare(UNPRICED, fills, copies, [both]).wrong == []
    copies[2] = copy(UNPRICED, 3, "buy", "copied")
    assert compare(UNPRICED, fills, copies, [both, order(UNPRICED, 3, "buy", Decimal("0.00006"))]).right == 2


@pytest.mark.parametrize(
    ("sold", "wrong"),
    [
        ("0.0386", ""),
        ("0.2386", "ordered 0.2386; right: at most 0.03860001"),
        ("0.02", "copied, and 0.0186 BTC is left; right: nothing"),
    ],
)
def test_a_full_close_sells_what_was_copied_and_no_own_coin(sold: str, wrong: str) -> None:
    """0.0386 BTC were copied, and 0.2 BTC are its own."""
    result = compare(
        OWN_COINS,
        [fill(1, "buy"), fill(2, "sell")],
        [copy(OWN_COINS, 1, "buy", "copied"), copy(OWN_COINS, 2, "sell", "copied")],
        [order(OWN_COINS, 1, "buy", Decimal("0.0386")), order(OWN_COINS, 2, "sell", Decimal(sold))],
    )
    assert result.wrong == ([f"own-coins fill 2 (sell): {wrong}"] if wrong else [])


@pytest.mark.parametrize("conditions", [STRICT, DISTURBED])
@pytest.mark.parametrize("end", ["no_position", "rejected", "key_refused", "too_old"])
def test_an_exit_is_never_skipped_while_something_is_copied(conditions: Conditions, end: str) -> None:
    """Whatever was away. A pending exit is found, too. Without a copied position, the exit has nothing to sell."""
    copies = [copy(REFUSED_KEY, 1, "buy", "copied"), copy(REFUSED_KEY, 2, "sell", end)]
    fills, orders = [fill(1, "buy"), fill(2, "sell")], [order(REFUSED_KEY, 1, "buy", Decimal("0.008"))]
    assert compare(REFUSED_KEY, fills, copies, orders, conditions).wrong == [
        f"refused-key fill 2 (sell): {end}; right: copied"
    ]
    copies[1] = copy(REFUSED_KEY, 2, "sell", "", outcome=None)
    assert compare(REFUSED_KEY, fills, copies, orders, conditions).ends["pending"] == 1
    nothing = [copy(OTHER_CASH, 1, "buy", "no_quote_cash"), copy(OTHER_CASH, 2, "sell", end)]
    assert compare(OTHER_CASH, fills, nothing, (), conditions).right == (2 if end == "no_position" else 1)


def test_only_a_key_that_was_refused_excuses_a_skip() -> None:
    """The skip must be within the refusal or the minute after it, and of the follower whose key was refused."""
    refusal = KeyRefusalTime(NOW - timedelta(seconds=20), NOW - timedelta(seconds=10))
    during = Conditions(disturbed=True, refusals=[refusal])
    assert ended(REFUSED_KEY, "key_refused", during).wrong == []
    assert ended(OWN_COINS, "key_refused", during).right == 0
    assert ended(REFUSED_KEY, "key_refused", during, ended_at=NOW + timedelta(seconds=90)).right == 0
    assert ended(REFUSED_KEY, "key_refused", DISTURBED).right == 0


def test_faults_excuse_a_late_open_and_not_a_wrong_one() -> None:
    """A price limit, a small size or the broker's word for no cash may come from a fault. A pause may not."""
    assert ended(MIXED_CASH, "price_limit", DISTURBED).wrong == []
    assert ended(OTHER_CASH, "insufficient_funds", DISTURBED).wrong == []
    assert ended(MIXED_CASH, "paused", DISTURBED).right == 0
    assert ended(MIXED_CASH, "insufficient_funds", DISTURBED).right == 0, "its cash pays for it"
    assert ended(TOO_SMALL, "insufficient_funds", DISTURBED).right == 0
    assert bought(UNPRICED, Decimal("0.003"), DISTURBED).wrong == []
    assert bought(UNPRICED, Decimal("0.0072"), DISTURBED).right == 0, "a fifth more than its size"


@pytest.mark.parametrize(("conditions", "minutes", "right"), [(STRICT, 5, 2), (DISTURBED, 5, 3), (DISTURBED, 16, 2)])
def test_faults_excuse_a_size_by_a_reading_of_the_last_15_minutes(
    conditions: Conditions, minutes: int, right: int
) -> None:
    """A fee of 1,000 of 3,000 dollars was paid since that reading. Without a loss of Redis, the next open counts it."""
    later = {"executed_at": NOW + timedelta(minutes=minutes)}
    fills = [fill(1, "buy"), fill(2, "sell"), fill(3, "buy").model_copy(update=later)]
    ends = [copy(UNPRICED, each.sequence, each.side, "copied", ended_at=None) for each in fills]
    orders = [order(UNPRICED, each.sequence, each.side, Decimal("0.006")) for each in fills]
    orders[0] = orders[0].model_copy(update={"fee": Decimal(1_000)})
    assert compare(UNPRICED, fills, ends, orders, conditions).right == right


@pytest.mark.parametrize(("conditions", "right"), [(STRICT, 2), (DISTURBED, 3)])
def test_faults_may_hide_what_a_sale_has_brought(conditions: Conditions, right: int) -> None:
    """The cash of a sale is known only after the next reading. Before any sale, the cash is known."""
    assert ended(MIXED_CASH, "no_quote_cash", conditions).right == 0
    fills = [fill(1, "buy"), fill(2, "sell"), fill(3, "buy")]
    copies = [copy(MIXED_CASH, 1, "buy", "copied"), copy(MIXED_CASH, 2, "sell", "copied")]
    orders = [order(MIXED_CASH, number, side, Decimal("0.012")) for number, side in ((1, "buy"), (2, "sell"))]
    copies.append(copy(MIXED_CASH, 3, "buy", "no_quote_cash"))
    assert compare(MIXED_CASH, fills, copies, orders, conditions).right == right


def test_coins_may_lose_their_price_only_where_prices_are_named() -> None:
    """After a loss of Redis, the coins of an account have no price there until it is read again."""
    by_name = DISTURBED._replace(prices_by_name=True)
    assert ended(LITTLE_CASH, "below_minimum", by_name).wrong == []
    assert ended(LITTLE_CASH, "below_minimum", DISTURBED).right == 0
    assert ended(LITTLE_CASH, "below_minimum", by_name._replace(disturbed=False)).right == 0
    assert ended(OTHER_CASH, "below_minimum", by_name).right == 0, "it has no coins"


def test_an_open_that_was_in_time_is_not_too_old() -> None:
    """The reason is right only a minute after the master's fill."""
    assert ended(MIXED_CASH, "too_old", DISTURBED, ended_at=NOW + timedelta(seconds=61)).wrong == []
    assert ended(MIXED_CASH, "too_old", DISTURBED, ended_at=NOW + timedelta(seconds=30)).right == 0
