"""Decides what of an open position is sold: emergency, then stop, then the crossing of the averages, then targets."""

from decimal import Decimal
from typing import NamedTuple

from shared.domain.amounts import ONE
from shared.domain.strategy.decision import DecisionInputs, Exit, ExitReason, Hold, HoldReason
from shared.domain.strategy.indicator_values import TechnicalValues
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.signal import Signal
from shared.domain.strategy.targets import MULTIPLES, SINGLE_TARGET
from shared.domain.strategy.trader_account import TraderAccount


def loss_share(price: Decimal, average_price: Decimal) -> Decimal:
    """Return (price − average) / average, without fees: below 0 for a loss."""
    return (price - average_price) / average_price


def is_emergency(best_bid: Decimal, average_price: Decimal, parameters: ApexParameters = APEX) -> bool:
    """Whether a position has to be sold at once. Fees are left out, or high fees alone would liquidate it at birth."""
    return best_bid <= average_price * (ONE - parameters.emergency)


def emergency_exit(
    position: StrategyPosition, account: TraderAccount, parameters: ApexParameters = APEX
) -> Exit | None:
    """Return the sale of a whole position, when the best bid makes it an emergency.

    It needs no candles and no cash, so it is checked on every price update, before anything else. None without a bid,
    and while an order of the position is under way, so that a position is liquidated once.
    """
    bid = account.best_bid
    if bid is None or account.order_under_way or not position.is_open:
        return None
    if not is_emergency(bid, position.average_price, parameters):
        return None
    due = _Due(ExitReason.EMERGENCY, _emergency_price(position, parameters), position.quantity)
    return _exit(_without_candles(position, account, parameters), None, position, due, bid)


def whole_exit(
    position: StrategyPosition, account: TraderAccount, reason: ExitReason, parameters: ApexParameters = APEX
) -> Exit | None:
    """Return the sale of a whole position that no price has caused. None without a bid."""
    return part_exit(position, account, reason, position.quantity, parameters)


def part_exit(
    position: StrategyPosition,
    account: TraderAccount,
    reason: ExitReason,
    quantity: Decimal,
    parameters: ApexParameters = APEX,
) -> Exit | None:
    """Return the sale of a part that no price has caused. None without a bid, and for a part that is too small."""
    bid = account.best_bid
    if bid is None or account.order_under_way or not position.is_open:
        return None
    due = _Due(reason, bid, quantity)
    return _exit(_without_candles(position, account, parameters), None, position, due, bid)


def exit_or_hold(inputs: DecisionInputs, signal: Signal) -> Exit | Hold:
    """Decide on an open position. `inputs` has usable candles and a position; else it raises ValueError."""
    technical, candle, position = inputs.technical, inputs.candle, inputs.position
    if technical is None or candle is None or position is None:
        raise ValueError("an exit is decided on usable candles and a position")
    bid = inputs.account.best_bid
    price = candle.close if bid is None else bid
    position = position.after_close(candle.close, technical.atr, inputs.parameters)
    due = _due(position, price, technical, inputs.parameters)
    if due is None:
        return Hold(inputs=inputs, signal=signal, reasons=(HoldReason.NO_EXIT,), position=position)
    sale = _exit(inputs, signal, position, due, price)
    if sale is None:
        return Hold(inputs=inputs, signal=signal, reasons=(HoldReason.EXIT_BELOW_MINIMUM,), position=position)
    return sale


def _without_candles(position: StrategyPosition, account: TraderAccount, parameters: ApexParameters) -> DecisionInputs:
    return DecisionInputs(
        first_candle=None,
        last_candle=None,
        candles=0,
        faults=(),
        technical=None,
        candle=None,
        position=position,
        account=account,
        parameters=parameters,
    )


class _Due(NamedTuple):
    """An exit before its quantity is fitted to the lots of the broker."""

    reason: ExitReason
    threshold: Decimal
    quantity: Decimal


def _due(
    position: StrategyPosition, price: Decimal, technical: TechnicalValues, parameters: ApexParameters
) -> _Due | None:
    """Return the first exit in the order of checks."""
    if is_emergency(price, position.average_price, parameters):
        return _Due(ExitReason.EMERGENCY, _emergency_price(position, parameters), position.quantity)
    if price <= position.stop:
        return _Due(ExitReason.STOP, position.stop, position.quantity)
    if technical.ema_9 < technical.ema_21:
        # An entry needs EMA9 above EMA21. So they have crossed, perhaps in a candle that no cycle saw.
        return _Due(ExitReason.EMA_CROSS, technical.ema_21, position.quantity)
    quantity = position.due_at(price)
    return _Due(ExitReason.TARGET, _reached_target(position, price), quantity) if quantity else None


def _exit(
    inputs: DecisionInputs, signal: Signal | None, position: StrategyPosition, due: _Due, price: Decimal
) -> Exit | None:
    """Return the sale; None when the broker would refuse it as too small."""
    quantity = position.sale_of(due.quantity, price)
    if not quantity:
        return None
    return Exit(
        inputs=inputs,
        signal=signal,
        reason=due.reason,
        quantity=quantity,
        fraction=quantity / position.quantity,
        price=price,
        threshold=due.threshold,
        loss_share=loss_share(price, position.average_price),
        position=position,
    )


def _emergency_price(position: StrategyPosition, parameters: ApexParameters) -> Decimal:
    return position.average_price * (ONE - parameters.emergency)


def _reached_target(position: StrategyPosition, price: Decimal) -> Decimal:
    """Return the highest target that the price reaches. At least one is reached."""
    multiples = (SINGLE_TARGET,) if position.parts is None else MULTIPLES
    return max(target for target in map(position.target, multiples) if price >= target)
