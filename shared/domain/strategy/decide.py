"""Decides on one symbol of one account from values alone: the pure core of the strategy APEX v7.1.

`shared.indicators.decide` computes the values from candles and calls it. Live trading, paper trading and the backtest
call that same function, so they decide alike.
"""

from typing import Final

from shared.domain.strategy.decision import DecisionInputs, Exit, ExitReason, Hold, HoldReason, StrategyDecision
from shared.domain.strategy.entries import enter_or_hold
from shared.domain.strategy.exits import emergency_exit, exit_or_hold, part_exit, whole_exit
from shared.domain.strategy.signal import signal_of

_WHOLE: Final = frozenset({ExitReason.ROOM, ExitReason.FLATTEN, ExitReason.MARGIN_CLOSE})
"""Reasons that no price causes, and after which the whole position is sold."""


def decide_from(inputs: DecisionInputs) -> StrategyDecision:
    """Return the decision for these inputs; the same inputs lead to the same decision."""
    technical, candle = inputs.technical, inputs.candle
    if inputs.faults or technical is None or candle is None:
        return Hold(inputs=inputs, signal=None, reasons=(HoldReason.WINDOW,), position=inputs.position)
    signal = signal_of(technical, candle, inputs.parameters)
    if inputs.account.order_under_way:
        return Hold(inputs=inputs, signal=signal, reasons=(HoldReason.ORDER_UNDER_WAY,), position=inputs.position)
    if inputs.position is not None and inputs.position.is_open:
        return exit_or_hold(inputs, signal)
    return enter_or_hold(inputs, signal)


def decide_again(decision: StrategyDecision) -> StrategyDecision | None:
    """Compute a recorded decision from its own inputs. None: an emergency that these rules do not find.

    A result that differs from the record shows that a rule has changed since.
    """
    inputs = decision.inputs
    if isinstance(decision, Exit) and inputs.technical is None and inputs.position is not None:
        if decision.reason is ExitReason.MARGIN_REDUCE:
            # How much the zone demanded is not among the inputs: it follows from the whole account.
            return part_exit(inputs.position, inputs.account, decision.reason, decision.quantity, inputs.parameters)
        if decision.reason in _WHOLE:
            return whole_exit(inputs.position, inputs.account, decision.reason, inputs.parameters)
        return emergency_exit(inputs.position, inputs.account, inputs.parameters)
    return decide_from(inputs)
