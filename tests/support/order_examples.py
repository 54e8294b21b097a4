"""Builds example states of a copy order and plays observations to its machine."""

from datetime import datetime, timedelta
from typing import Any

from shared.domain.copying.order_machine import Move, OrderMachine
from shared.domain.copying.order_observations import (
    Failure,
    FailureKind,
    Observation,
)
from shared.domain.copying.order_state import (
    Accepted,
    Attempt,
    CopyOrderState,
    Final,
)
from shared.domain.copying.order_steps import Settle, Wait
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.order_report import OrderReport, OrderStatus
from shared.domain.symbol import Symbol
from tests.support.examples import NOW
from tests.support.order_turns import MARGIN, QUANTITY, VALIDITY
from tests.support.order_world import an_order_machine

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
OPEN = an_order_machine()
EXIT = an_order_machine(is_open=False)
FIRST = Attempt(1, QUANTITY, NOW, NOW + VALIDITY, 1)
ORDER_ID = BrokerOrderId("O1")
WAITING = Accepted(ORDER_ID, NOW, NOW, QUANTITY, is_recorded=True)
WINDOW_ENDS = NOW + VALIDITY + MARGIN


def a_failure(kind: FailureKind, retry_after_seconds: float = 0.0) -> Failure:
    """A failure with the broker's words."""
    return Failure(kind, "words", retry_after_seconds)


def a_report(status: OrderStatus = OrderStatus.OPEN) -> OrderReport:
    """What the broker says of the order."""
    return OrderReport(
        broker_order_id=ORDER_ID,
        client_order_id="c1",
        symbol=Symbol("BTC", "USD"),
        side=Side.BUY,
        status=status,
        quantity=QUANTITY,
    )


def verdict(move: Move) -> Any:
    """How the order ends."""
    assert isinstance(move.state, Final)
    assert move.step == Settle(move.state.verdict)
    return move.state.verdict


def waiting(move: Move) -> Wait:
    """The wait that follows."""
    assert isinstance(move.step, Wait)
    return move.step


def play(machine: OrderMachine, state: CopyOrderState, *observations: Observation, now: datetime = NOW) -> Move:
    """The last move after these observations, all at the same time."""
    for observation in observations:
        state, step = machine.next_step(state, observation, now)
    return Move(state, step)
