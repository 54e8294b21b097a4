"""Stops and resumes trading, as `nija stop` and `nija resume` do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import structlog
from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from services.api.auth import Operator
from services.api.once import Once, OnceOnly
from services.api.parameters import FOLLOWER_FORM, Body, Reason
from services.api.problems import PROBLEMS, problems
from services.api.system import System
from shared.actions.stop import StopResult, resume_trading, stop_trading
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode, StopScope
from shared.queries.tokens import Principal

router = APIRouter(tags=["actions"])

log = structlog.get_logger()


class Resumption(Body):
    """Which stop ends: that of all brokers, of one broker, or of one follower. Stops of other scopes stay."""

    broker: Broker | None = None
    follower_id: Annotated[str | None, Field(pattern=f"^{FOLLOWER_FORM}$")] = None
    reason: Reason = ""


class StopRequest(Resumption):
    """What is stopped: all brokers, one broker, or one follower. `halt`: exits wait too. `close-only`: exits go on."""

    mode: StopMode = StopMode.HALT


class StopAnswer(BaseModel):
    """A scope after it was stopped or resumed."""

    model_config = ConfigDict(frozen=True)

    scope: StopScope
    before: Stop | None
    """The stop of this scope before; null: it was not stopped."""
    standing: Sequence[Stop]
    """All stops that stand now, of every scope."""
    unreached: Sequence[Broker]
    """Brokers whose Redis did not take the change. Their processes see it a second after Redis answers."""

    @classmethod
    def of(cls, result: StopResult) -> "StopAnswer":
        for broker, why in result.unreached.items():
            log.warning("a stop or resumption waits for redis", broker=broker.value, error=why)
        return cls(
            scope=result.scope, before=result.before, standing=result.standing, unreached=sorted(result.unreached)
        )


_ACTION = {**PROBLEMS, **problems(404, 409)}


@router.post("/api/stop", response_model=StopAnswer, responses=_ACTION, operation_id="stop")
async def stop(system: System, principal: Operator, once: OnceOnly, asked: StopRequest | None = None) -> Response:
    """Stop trading. Every process sees it within two seconds, and only a resumption ends it.

    Orders that are at the broker are followed to their end. If several stops apply to an account, the strictest holds.
    """
    request = asked or StopRequest()
    return await _change(partial(stop_trading, system.actions, request.mode), principal, once, request)


@router.post("/api/resume", response_model=StopAnswer, responses=_ACTION, operation_id="resume")
async def resume(system: System, principal: Operator, once: OnceOnly, asked: Resumption | None = None) -> Response:
    """End the stop of exactly this scope. Exits that waited are sent within 15 seconds."""
    return await _change(partial(resume_trading, system.actions), principal, once, asked or Resumption())


async def _change(action: Callable[..., StopResult], principal: Principal, once: Once, request: Resumption) -> Response:
    follower_id = None if request.follower_id is None else FollowerId(request.follower_id)
    work = partial(action, request.broker, follower_id, actor=principal.actor, reason=request.reason)

    async def carry_out() -> StopAnswer:
        return StopAnswer.of(await run_sync(work))

    return await once.run(principal, carry_out)
