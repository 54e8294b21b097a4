"""Answers what became of each copy and why, as `nija orders` does."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.auth import Reader
from services.api.paging import AfterOrder, Limit, ListPage, key_of
from services.api.parameters import BrokerFilter, FollowerFilter
from services.api.problems import PROBLEMS, problems
from services.api.system import System
from shared.domain.identity import FollowerId
from shared.queries.fill_names import FillName
from shared.queries.ledger import ORDER_STATES, OrderLine
from shared.queries.pages import OrderKey, page_of_orders

router = APIRouter(prefix="/api/orders", tags=["ledger"])

State = Annotated[
    str | None,
    Query(
        pattern=f"^(?:{'|'.join(ORDER_STATES)})$",
        json_schema_extra={"enum": [*ORDER_STATES, None]},
        description="Only in this state.",
    ),
]


@router.get("", responses={**PROBLEMS, **problems(404)}, operation_id="orders")
def orders(
    system: System,
    _: Reader,
    broker: BrokerFilter = None,
    follower: FollowerFilter = None,
    fill: Annotated[
        int | None, Query(ge=1, le=10**17, description="Only the copies of the fill with this number.")
    ] = None,
    state: State = None,
    after: AfterOrder = None,
    limit: Limit = 50,
) -> ListPage[OrderLine]:
    """List the copy orders, those of the newest fill first, each with its reason.

    Decisions against a copy (`skipped`) are in the list if a follower, a fill or that state is asked for.
    """
    page = page_of_orders(
        system.connections,
        broker,
        follower_id=None if follower is None else FollowerId(follower),
        fill=None if fill is None else FillName(str(fill), broker),
        state=state,
        after=key_of(OrderKey, after),
        limit=limit,
    )
    return ListPage.of(page)
