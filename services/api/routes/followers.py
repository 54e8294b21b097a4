"""Shows followers, and pauses and resumes them, as `nija followers` does."""

from collections.abc import Callable, Sequence
from functools import partial

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from services.api.auth import Operator, Reader
from services.api.once import Once, OnceOnly
from services.api.paging import AfterFollower, Limit, ListPage, key_of
from services.api.parameters import BrokerFilter, BrokerInPath, FollowerInPath, Why
from services.api.problems import PROBLEMS, problems
from services.api.system import ApiSystem, System
from shared.actions.followers import FollowerResult, pause_follower, resume_follower
from shared.domain.amounts import Instant
from shared.domain.identity import Broker, FollowerId
from shared.queries.followers import FollowerLine, read_details
from shared.queries.pages import FollowerKey, page_of_followers
from shared.queries.tokens import Principal

router = APIRouter(prefix="/api/followers", tags=["followers"])


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class ShownChange(_Shown):
    """One recorded change of a follower."""

    change: str
    before: str | None
    after: str | None
    actor: str
    reason: str
    occurred_at: Instant


class ShownFollower(_Shown):
    """A follower with the newest changes first. Nothing of its key is here."""

    broker: Broker
    follower_id: str
    source: str
    status: str
    status_reason: str
    status_changed_at: Instant
    joined_sequence: int
    created_at: Instant
    withdraw_allowed: bool
    changes: Sequence[ShownChange] = ()


class ChangedFollower(BaseModel):
    """A follower after an action. `changed` false: it was so before."""

    broker: Broker
    follower_id: str
    status: str
    changed: bool
    notes: Sequence[str]

    @classmethod
    def of(cls, result: FollowerResult) -> "ChangedFollower":
        follower = result.follower
        return cls(
            broker=follower.broker,
            follower_id=follower.follower_id,
            status=follower.status.value,
            changed=result.changed,
            notes=result.notes,
        )


_ACTION = {**PROBLEMS, **problems(404, 409)}


@router.get("", responses=PROBLEMS, operation_id="followers")
def followers(
    system: System, _: Reader, broker: BrokerFilter = None, after: AfterFollower = None, limit: Limit = 100
) -> ListPage[FollowerLine]:
    """List the followers with how their fills ended, by broker and id."""
    return ListPage.of(page_of_followers(system.connections, broker, after=key_of(FollowerKey, after), limit=limit))


@router.get(
    "/{broker}/{follower_id}",
    responses={**PROBLEMS, **problems(404)},
    operation_id="follower",
)
def follower(system: System, _: Reader, broker: BrokerInPath, follower_id: FollowerInPath) -> ShownFollower:
    """Show a follower with its newest changes, also a removed one."""
    found = read_details(system.connections, FollowerId(follower_id), broker, with_key=False)
    changes = [ShownChange.model_validate(each) for each in found.changes]
    return ShownFollower.model_validate(found.follower).model_copy(update={"changes": changes})


@router.post(
    "/{broker}/{follower_id}/pause", response_model=ChangedFollower, responses=_ACTION, operation_id="pause_follower"
)
async def pause(
    system: System,
    principal: Operator,
    once: OnceOnly,
    broker: BrokerInPath,
    follower_id: FollowerInPath,
    why: Why | None = None,
) -> Response:
    """Skip opens of a follower from now on. Exits go on."""
    return await _change(pause_follower, system, principal, once, broker, follower_id, why)


@router.post(
    "/{broker}/{follower_id}/resume", response_model=ChangedFollower, responses=_ACTION, operation_id="resume_follower"
)
async def resume(
    system: System,
    principal: Operator,
    once: OnceOnly,
    broker: BrokerInPath,
    follower_id: FollowerInPath,
    why: Why | None = None,
) -> Response:
    """Let a follower copy again. The key of a disabled one is checked at its broker first."""
    return await _change(resume_follower, system, principal, once, broker, follower_id, why)


async def _change(
    action: Callable[..., FollowerResult],
    system: ApiSystem,
    principal: Principal,
    once: Once,
    broker: Broker,
    follower_id: str,
    why: Why | None,
) -> Response:
    reason = why.reason if why else ""
    work = partial(action, system.actions, FollowerId(follower_id), broker, actor=principal.actor, reason=reason)

    async def carry_out() -> ChangedFollower:
        return ChangedFollower.of(await run_sync(work))

    return await once.run(principal, carry_out)
