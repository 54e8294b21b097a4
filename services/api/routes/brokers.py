"""Answers how each broker is, as `nija brokers` does."""

from fastapi import APIRouter

from services.api.auth import Reader
from services.api.paging import ListPage
from services.api.parameters import BrokerInPath
from services.api.problems import PROBLEMS
from services.api.system import System
from shared.queries.broker_facts import BrokerFacts
from shared.queries.brokers import read_brokers

router = APIRouter(prefix="/api/brokers", tags=["brokers"])


@router.get("", responses=PROBLEMS, operation_id="brokers")
def brokers(system: System, _: Reader) -> ListPage[BrokerFacts]:
    """List every broker: health, equity, queues, circuit, rate limits, fees and followers. There is one page only."""
    return ListPage(items=read_brokers(system.connections, system.enabled), next=None)


@router.get("/{broker}", responses=PROBLEMS, operation_id="broker")
def broker(system: System, _: Reader, broker: BrokerInPath) -> BrokerFacts:
    """Show one broker, also one that is not enabled."""
    return read_brokers(system.connections, system.enabled, broker)[0]
