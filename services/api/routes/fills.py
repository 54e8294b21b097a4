"""Answers what the masters traded, as `nija fills` does."""

from fastapi import APIRouter

from services.api.auth import Reader
from services.api.paging import AfterFill, Limit, ListPage, key_of
from services.api.parameters import BrokerFilter
from services.api.problems import PROBLEMS
from services.api.system import System
from shared.queries.ledger import FillReport
from shared.queries.pages import FillKey, page_of_fills

router = APIRouter(prefix="/api/fills", tags=["ledger"])


@router.get("", responses=PROBLEMS, operation_id="fills")
def fills(
    system: System, _: Reader, broker: BrokerFilter = None, after: AfterFill = None, limit: Limit = 20
) -> ListPage[FillReport]:
    """List the fills of the masters, newest first. copied + skipped + failed + pending = followers."""
    return ListPage.of(page_of_fills(system.connections, broker, after=key_of(FillKey, after), limit=limit))
