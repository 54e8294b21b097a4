"""Decides on one symbol of one account from its candles: `decide`, which live trading and the backtest share.

This is the lowest place that may import both the indicators and the rules of the strategy.
"""

from shared.domain.strategy.candle_window import WindowFault, WindowProblem, faults_at
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import DecisionInputs, StrategyDecision
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_account import TraderAccount
from shared.indicators.window import Window


def decide(
    window: Window,
    position: StrategyPosition | None,
    account: TraderAccount,
    parameters: ApexParameters = APEX,
) -> StrategyDecision:
    """Return what to do now. It reads no clock and changes nothing; equal arguments lead to equal decisions."""
    first, last, faults = window.first, window.last, window.faults
    if last is not None:
        faults += faults_at(last, account.at, parameters.stale_seconds)
    values = None if faults else window.values
    if last is not None and not faults and values is None:
        faults = (WindowFault(WindowProblem.NOT_A_NUMBER, last.opened_at),)
    return decide_from(
        DecisionInputs(
            first_candle=None if first is None else first.opened_at,
            last_candle=None if last is None else last.opened_at,
            candles=window.length,
            faults=faults,
            technical=None if values is None else values.technical,
            candle=None if values is None else values.candle,
            position=position,
            account=account,
            parameters=parameters,
        )
    )
