"""Compares accounts with the ledger, as `nija reconcile` does."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from services.api.auth import Operator
from services.api.once import OnceOnly
from services.api.parameters import FOLLOWER_FORM, Body, Reason
from services.api.problems import AWAY, PROBLEMS, RequestRefused, problems, refusal_of
from services.api.system import ApiSystem, System
from shared.actions.reconcile import ReconciledBroker, reconcile
from shared.actions.reconciliation import REASON
from shared.domain.identity import Broker, FollowerId
from shared.domain.reconciliation.drift import Drift
from shared.domain.reconciliation.readings import OpenOrder
from shared.messaging.cancellation import end_tasks

router = APIRouter(prefix="/api/reconcile", tags=["actions"])

_CHECK_SECONDS: Final = 0.5


class ReconcileRequest(Body):
    """What to compare. `repair`: lower copied positions to what is there, cancel stray orders, wait for unknown ones."""

    broker: Broker | None = None
    follower_id: Annotated[str | None, Field(pattern=f"^{FOLLOWER_FORM}$")] = None
    repair: bool = False
    timeout_seconds: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 30
    reason: Reason = REASON


class ListedOrder(BaseModel):
    """An open order at the broker, and whose it is."""

    follower_id: str
    order: OpenOrder
    ownership: str


class BrokerReconciliation(BaseModel):
    """The result at one broker. `unread`: by follower, why its account was not read."""

    broker: Broker
    sound: bool
    asked: int
    read: int
    drifts: Sequence[Drift]
    repaired: Sequence[Drift]
    resolved: int
    open_orders: Sequence[ListedOrder]
    unlisted: Sequence[str]
    unread: Mapping[str, str]
    error: str | None

    @classmethod
    def of(cls, broker: Broker, result: ReconciledBroker) -> "BrokerReconciliation":
        error = result.error
        words = refusal_of(error).detail if isinstance(error, Exception) else "it was interrupted"
        return cls(
            broker=broker,
            sound=result.is_sound,
            asked=result.asked,
            read=len(result.readings),
            drifts=result.drifts,
            repaired=result.repaired,
            resolved=result.resolved,
            open_orders=[
                ListedOrder(follower_id=each.follower_id, order=each.order, ownership=each.ownership.value)
                for each in result.open_orders
            ],
            unlisted=result.unlisted,
            unread=result.unread,
            error=None if error is None else words,
        )


class ReconciliationAnswer(BaseModel):
    """The results. `sound`: every account was read, and nothing is left to repair."""

    sound: bool
    brokers: Sequence[BrokerReconciliation]


@router.post(
    "",
    response_model=ReconciliationAnswer,
    responses={**PROBLEMS, **problems(404, 409)},
    operation_id="reconcile",
)
async def reconcile_accounts(
    system: System, principal: Operator, once: OnceOnly, asked: ReconcileRequest | None = None
) -> Response:
    """Let workers read the accounts, and compare them with what was copied. Nothing is bought or sold."""
    request = asked or ReconcileRequest()

    async def carry_out() -> ReconciliationAnswer:
        found = await _unless_stopping(system, request, principal.actor)
        results = [BrokerReconciliation.of(broker, result) for broker, result in found.items()]
        return ReconciliationAnswer(sound=all(each.sound for each in results), brokers=results)

    return await once.run(principal, carry_out)


async def _unless_stopping(
    system: ApiSystem, request: ReconcileRequest, actor: str
) -> Mapping[Broker, ReconciledBroker]:
    """Reconcile. When the process is to end meanwhile, withdraw the requests to the workers."""
    task = asyncio.create_task(
        reconcile(
            system.actions,
            broker=request.broker,
            follower_id=None if request.follower_id is None else FollowerId(request.follower_id),
            repair=request.repair,
            timeout_seconds=request.timeout_seconds,
            actor=actor,
            reason=request.reason,
        )
    )
    try:
        while not (await asyncio.wait({task}, timeout=_CHECK_SECONDS))[0]:
            if system.stopping.is_set():
                raise RequestRefused(AWAY, "the API is stopping; the accounts are not read to the end")
        return task.result()
    finally:
        await end_tasks(task)
