"""Provides a paper Kraken for a whole module, and an operator with empty servers for each test of an action."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from tests.contract.paper import PaperServer
from tests.support.operators.operator import Operator


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken whose keys do not show whose account they open, as most keys at Kraken."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("paper"), shows_identity=False)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _rested(paper: PaperServer) -> None:
    """Each test begins with nothing counted, as after a pause. The limits stay in force."""
    paper.pause()


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty database with the newest schema."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def operator(paper: PaperServer, fresh_redis_url: str, engine: Engine) -> Operator:
    """An operator of a system without followers."""
    return Operator(paper, fresh_redis_url, engine)
