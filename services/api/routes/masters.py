"""Lists the masters and the subscriptions of followers to them, as `nija masters` and `nija subscriptions` do."""

from fastapi import APIRouter

from services.api.auth import Reader
from services.api.paging import AfterFollower, Limit, ListPage, key_of
from services.api.parameters import BrokerFilter
from services.api.problems import PROBLEMS
from services.api.system import System
from shared.queries.masters import MasterLine, SubscriptionLine, read_masters
from shared.queries.pages import FollowerKey, page_of_subscriptions

router = APIRouter(prefix="/api", tags=["masters"])


@router.get("/masters", responses=PROBLEMS, operation_id="masters")
def masters(system: System, _: Reader, broker: BrokerFilter = None) -> ListPage[MasterLine]:
    """List the masters: state, balance, newest fill, and followers by status. There is one page only."""
    found = read_masters(system.connections, system.enabled, broker, maximum_age=system.snapshot_max_age)
    return ListPage(items=found, next=None)


@router.get("/subscriptions", responses=PROBLEMS, operation_id="subscriptions")
def subscriptions(
    system: System, _: Reader, broker: BrokerFilter = None, after: AfterFollower = None, limit: Limit = 100
) -> ListPage[SubscriptionLine]:
    """List which follower copies which master, and on which terms, by broker and follower."""
    return ListPage.of(page_of_subscriptions(system.connections, broker, after=key_of(FollowerKey, after), limit=limit))
