"""Properties of the strategy that hold for every window, every position and every series of fills."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.market_data import Candle, Interval
from shared.domain.strategy.decide import decide_again, decide_from
from shared.domain.strategy.decision import Enter, Exit, Hold, from_json, to_json
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.parameters import APEX
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.targets import parts_of
from shared.indicators.decide import decide
from shared.indicators.window import Window
from tests.support.strategy import INSTRUMENT, Zigzag, account, candle_at, fill, inputs, position

D = Decimal
GOOD = Zigzag().candles()
QUANTITIES = st.decimals("0.0001", "1000", places=8)
PRICES = st.decimals("0.0001", "100000", places=4)
SHARES = st.decimals("0", "1", places=3)


@st.composite
def instruments(draw: st.DrawFn) -> Instrument:
    """Instruments with any lot and minimums."""
    return INSTRUMENT.model_copy(
        update={
            "lot": D(1).scaleb(-draw(st.integers(0, 8))),
            "minimum_quantity": draw(st.decimals("0", "1", places=4)),
            "minimum_cost": draw(st.decimals("0", "50", places=2)),
        }
    )


@given(whole=QUANTITIES, price=PRICES, instrument=instruments(), first=SHARES, second=SHARES)
def test_parts_add_up_to_the_whole_and_each_can_be_sold(
    whole: Decimal, price: Decimal, instrument: Instrument, first: Decimal, second: Decimal
) -> None:
    """Whatever the lots and minimums are."""
    parts = parts_of(whole, price, instrument, first, second)
    if parts is not None:
        assert parts.total == whole
        assert all(instrument.is_orderable(instrument.rounded(part), price) for part in parts)


@st.composite
def positions(draw: st.DrawFn) -> StrategyPosition:
    """Positions of any size, some of them sold in part."""
    price = draw(st.decimals("100", "2000", places=2))
    held = position(
        quantity=str(draw(st.decimals("0.0001", "10", places=5))),
        price=str(price),
        stop=str(price * draw(st.decimals("0.9", "1.01", places=4))),
        instrument=draw(instruments()),
        minimum_profit=draw(st.decimals("0", "0.02", places=4)),
    )
    sold = held.quantity * draw(st.sampled_from((D(0), D("0.3"), D("0.5"), D("0.75"))))
    return held.after_fill(fill(Side.SELL, str(sold), str(price))) if sold else held


@given(held=positions(), bids=st.lists(st.decimals("80", "2500", places=2), min_size=1, max_size=12), data=st.data())
@settings(max_examples=200)
def test_a_position_never_sells_more_than_it_holds_and_its_stop_never_moves_down(
    held: StrategyPosition, bids: list[Decimal], data: st.DataObject
) -> None:
    """Over any course of prices, with orders that fill in whole, in part or not at all."""
    for bid in bids:
        crossed = data.draw(st.booleans())
        decision = decide_from(
            inputs(held, best_bid=bid, close=bid, low=bid, high=bid, ema_9=D(990) if crossed else D(998))
        )
        if not held.is_open:
            assert not isinstance(decision, Exit)
            return
        assert not isinstance(decision, Enter)
        assert decision.position is not None
        assert decision.position.stop >= held.stop
        assert decision.position.quantity == held.quantity
        held = decision.position
        if isinstance(decision, Exit):
            assert 0 < decision.quantity <= held.quantity
            assert 0 < decision.fraction <= 1
            assert held.instrument.rounded(decision.quantity) == decision.quantity
            filled = decision.quantity * data.draw(st.sampled_from((D(0), D("0.5"), D(1))))
            if filled:
                after = held.after_fill(fill(Side.SELL, str(filled), str(bid)))
                assert after.quantity == held.quantity - filled
                assert after.stop >= held.stop
                held = after


@given(
    equity=st.decimals("-100", "1000000", places=2),
    exposure=st.decimals("0", "1000000", places=2),
    held=st.decimals("0", "100000", places=2),
    adx=st.decimals("0", "100", places=3),
    instrument=instruments(),
    profit=st.decimals("0", "0.05", places=4),
)
def test_an_entry_is_within_every_bound(
    equity: Decimal, exposure: Decimal, held: Decimal, adx: Decimal, instrument: Instrument, profit: Decimal
) -> None:
    """Its value is above no bound, and its exits are in order: stop, price, targets."""
    decision = decide_from(
        inputs(
            equity_usd=equity,
            exposure_usd=exposure,
            held_usd=held,
            adx=adx,
            instrument=instrument,
            route=OpensHere(profit),
        )
    )
    if isinstance(decision, Enter):
        assert all(decision.size_usd <= bound.usd for bound in decision.bounds)
        assert exposure + decision.size_usd <= equity * APEX.exposure
        assert instrument.rounded(decision.quantity) == decision.quantity
        assert 0 < decision.stop < decision.price <= decision.targets[0] <= decision.targets[1] <= decision.targets[2]
        assert decision.targets[0] >= decision.price * (1 + profit)
        assert not position_of(decision).is_open
    assert decide_again(from_json(to_json(decision))) == decision


def _drop(candles: list[Candle], index: int) -> list[Candle]:
    return candles[:index] + candles[index + 1 :]


def _double(candles: list[Candle], index: int) -> list[Candle]:
    return candles[: index + 1] + candles[index:]


def _swap(candles: list[Candle], index: int) -> list[Candle]:
    other = index - 1 if index else 1
    swapped = list(candles)
    swapped[index], swapped[other] = swapped[other], swapped[index]
    return swapped


def _changed(candles: list[Candle], index: int, **changes: object) -> list[Candle]:
    return [candle.model_copy(update=changes) if place == index else candle for place, candle in enumerate(candles)]


MUTATIONS = {
    "a candle is missing": _drop,
    "a candle is missing, and the window is filled up": lambda c, i: [
        c[0].model_copy(update={"opened_at": c[0].opened_at - timedelta(minutes=5)}),
        *_drop(c, min(298, max(1, i))),  # without the last one, it is the window of five minutes ago
    ],
    "a candle is there twice": _double,
    "a candle replaces its neighbour": lambda c, i: _changed(c, i, opened_at=c[i - 1 if i else 1].opened_at),
    "two candles are in the wrong order": _swap,
    "a candle is not closed": lambda c, i: _changed(c, i, is_closed=False),
    "a candle has no volume": lambda c, i: _changed(c, i, base_volume=D(0)),
    "a candle has another length": lambda c, i: _changed(c, i, interval=Interval.ONE_MINUTE),
    "a candle begins a little late": lambda c, i: _changed(c, i, opened_at=c[i].opened_at + timedelta(seconds=1)),
    "the newest candles are first": lambda c, _: c[::-1],
    "the window is stale": lambda c, i: [
        x.model_copy(update={"opened_at": x.opened_at - timedelta(hours=1 + i)}) for x in c
    ],
    "the window is of tomorrow": lambda c, i: [
        x.model_copy(update={"opened_at": x.opened_at + timedelta(hours=1 + i)}) for x in c
    ],
}


@given(name=st.sampled_from(sorted(MUTATIONS)), index=st.integers(0, 299))
@settings(max_examples=300)
def test_no_mutation_of_a_window_leads_to_an_order(name: str, index: int) -> None:
    """The unspoiled window is entered, and would sell a position that stands far below its stop."""
    candles = MUTATIONS[name](GOOD, index)
    for held in (None, position(price="4000", stop="3900")):
        decision = decide(Window.of(candles), held, account(GOOD))
        assert isinstance(decision, Hold)
        assert decision.inputs.faults
        assert decision.position == held


def test_the_unspoiled_window_leads_to_orders() -> None:
    """The property above is not empty."""
    assert isinstance(decide(Window.of(GOOD), None, account(GOOD)), Enter)
    assert isinstance(decide(Window.of(GOOD), position(price="4000", stop="3900"), account(GOOD)), Exit)


@given(
    moves=st.lists(st.integers(-40, 40), min_size=299, max_size=299),
    volumes=st.lists(st.integers(1, 500), min_size=300, max_size=300),
)
@settings(max_examples=30)
def test_any_usable_window_is_decided_and_can_be_decided_again(moves: list[int], volumes: list[int]) -> None:
    """No walk of prices raises an error, and its record leads to the same decision."""
    close, candles = D(20_000), []
    for index, (move, volume) in enumerate(zip([0, *moves], volumes, strict=True)):
        before, close = close, close + move
        high, low = max(before, close) + abs(move) % 7, min(before, close) - abs(move) % 5
        candles.append(candle_at(index, opening=before, high=high, low=low, close=close, volume=D(volume)))
    decision = decide(Window.of(candles), None, account(candles))
    assert not decision.inputs.faults
    assert decide_again(from_json(to_json(decision))) == decision
