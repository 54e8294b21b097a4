"""Answers what was copied and is still held, as `nija positions` does."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.auth import Reader
from services.api.paging import AfterPosition, Limit, ListPage, key_of
from services.api.parameters import AssetFilter, BrokerFilter, FollowerFilter
from services.api.problems import PROBLEMS, problems
from services.api.system import System
from shared.domain.identity import FollowerId
from shared.queries.ledger import PositionLine
from shared.queries.pages import PositionKey, page_of_positions

router = APIRouter(prefix="/api/positions", tags=["ledger"])


@router.get("", responses={**PROBLEMS, **problems(404)}, operation_id="positions")
def positions(
    system: System,
    _: Reader,
    broker: BrokerFilter = None,
    follower: FollowerFilter = None,
    asset: AssetFilter = None,
    closed: Annotated[bool, Query(description="Those of quantity 0 too.")] = False,
    after: AfterPosition = None,
    limit: Limit = 100,
) -> ListPage[PositionLine]:
    """List the copied positions, by asset. A follower's own coins are not among them."""
    page = page_of_positions(
        system.connections,
        broker,
        follower_id=None if follower is None else FollowerId(follower),
        asset=asset,
        closed=closed,
        after=key_of(PositionKey, after),
        limit=limit,
    )
    return ListPage.of(page)
