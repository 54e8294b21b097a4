"""Tests the laws of the automatic action of ORANGE and RED, over whole histories of an account."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.margin import (
    ORANGE_FROM,
    RED_FROM,
    REDUCTION,
    REPEAT_AFTER,
    MarginAction,
    MarginActionState,
    PositionCut,
    ZoneAction,
    is_demanded,
    order_name,
    plan_margin_action,
    with_final_orders,
)
from tests.support.capital import a_margin_account
from tests.support.capital_strategies import amounts, positions
from tests.support.examples import NOW


@dataclass(frozen=True)
class Check:
    """One check of an account, and what happens before it."""

    account: AccountFacts
    seconds: int
    """Since the check before."""
    orders_end: bool
    sold: bool
    """Whether the orders that end executed something."""


@st.composite
def checks(draw: st.DrawFn) -> Check:
    """Accounts at the bounds of the zones and between them, with up to six positions."""
    pct = draw(st.sampled_from([Decimal(each) for each in ("49", "74.99", "75", "89.99", "90")]) | amounts("0", "120"))
    held = draw(st.lists(positions(), max_size=6, unique_by=lambda each: each.instrument.symbol))
    account = a_margin_account("1000", pct * 10, positions=tuple(held))
    return Check(account, draw(st.sampled_from([30, 300, 301])), draw(st.booleans()), draw(st.booleans()))


@given(st.lists(checks(), max_size=25))
def test_every_round_keeps_the_rules_of_its_zone(history: list[Check]) -> None:
    """No round begins before the last one has ended, and a process that restarts at any check decides the same."""
    state, now = MarginActionState(), NOW
    rounds: list[MarginAction] = []
    for check in history:
        now += timedelta(seconds=check.seconds)
        account, last = check.account, state.last
        if last is not None and check.orders_end:
            state = with_final_orders(state, () if check.sold else [cut.symbol for cut in last.cuts])
        before, plan = state, plan_margin_action(state, account, now)
        stored = MarginActionState.model_validate_json(before.model_dump_json())
        assert plan_margin_action(stored, account, now) == plan
        state = plan.state
        if not plan.cuts:
            assert state.last == before.last
            continue
        assert before.last is None or before.last.is_final
        assert state.last is not None
        assert (state.last.cuts, state.last.is_final) == (plan.cuts, False)
        assert is_demanded(state.last, account, now)
        _is_within_positions(state.last, account)
        reductions = [each for each in rounds if each.kind is ZoneAction.REDUCE]
        if state.last.kind is ZoneAction.REDUCE:
            assert ORANGE_FROM <= account.margin_used_pct < RED_FROM
            assert not reductions or now - reductions[-1].started_at >= REPEAT_AFTER
        else:
            assert len(plan.cuts) == 1
        rounds.append(state.last)
    names = [order_name(each, cut) for each in rounds for cut in each.cuts]
    assert len(names) == len(set(names))


def _is_within_positions(action: MarginAction, account: AccountFacts) -> None:
    """Each order is for a position that nija opened, in its direction, in whole lots, and not above its part."""
    own = {each.instrument.symbol: each for each in account.own_positions}
    part = REDUCTION if action.kind is ZoneAction.REDUCE else 1
    for cut in action.cuts:
        position = own[cut.symbol]
        assert cut.side is position.closing_side
        assert cut.quantity <= abs(position.quantity) * part
        assert cut.quantity == position.instrument.rounded(cut.quantity)
        assert position.price is not None
        assert position.instrument.is_orderable(cut.quantity, position.price)


@given(st.lists(positions(), min_size=1, max_size=5, unique_by=lambda each: each.instrument.symbol))
def test_red_tries_every_position_before_it_tries_one_again(held: list[object]) -> None:
    """No order executes anything. Each position that can be sold has its turn, from the worst one on."""
    account = a_margin_account("1000", "950", positions=tuple(held))
    state, now = MarginActionState(), NOW
    tried: list[PositionCut] = []
    for _ in held:
        now += timedelta(seconds=30)
        plan = plan_margin_action(state, account, now)
        tried.extend(plan.cuts)
        state = with_final_orders(plan.state, [cut.symbol for cut in plan.cuts])
    again = plan_margin_action(state, account, now + timedelta(seconds=30))
    sellable = {cut.symbol for cut in tried}
    assert [cut.symbol for cut in tried[: len(sellable)]] == list(dict.fromkeys(cut.symbol for cut in tried))
    assert len(again.cuts) == min(1, len(sellable))
