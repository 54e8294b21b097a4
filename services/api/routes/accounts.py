"""Answers what each account is worth, as `nija accounts` does."""

from fastapi import APIRouter

from services.api.auth import Reader
from services.api.paging import AfterAccount, Limit, ListPage, key_of
from services.api.parameters import BrokerFilter, FollowerFilter
from services.api.problems import PROBLEMS, problems
from services.api.system import System
from shared.domain.accounts.balance import UserBrokerState
from shared.domain.identity import FollowerId
from shared.queries.accounts import AccountPageKey
from shared.queries.pages import page_of_accounts

router = APIRouter(prefix="/api/accounts", tags=["accounts"])


@router.get("", responses={**PROBLEMS, **problems(404)}, operation_id="accounts")
def accounts(
    system: System,
    _: Reader,
    broker: BrokerFilter = None,
    follower: FollowerFilter = None,
    after: AfterAccount = None,
    limit: Limit = 100,
) -> ListPage[UserBrokerState]:
    """List the accounts of each broker, the master first. Money is US dollars: total = available + locked."""
    page = page_of_accounts(
        system.connections,
        system.enabled,
        broker,
        follower_id=None if follower is None else FollowerId(follower),
        maximum_age=system.snapshot_max_age,
        after=key_of(AccountPageKey, after),
        limit=limit,
    )
    return ListPage.of(page)
