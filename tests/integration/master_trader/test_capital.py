"""Tests that the master's process samples its account, and that peak and circuit breaker survive its death."""

import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from redis import Redis as BlockingRedis
from sqlalchemy import Engine

from services.master_trader.sample_capital import SampledAccount, sample
from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.history import CapitalSnapshot
from shared.domain.capital.sampling import ChangeKind
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.persistence.capital import CapitalStore
from shared.persistence.database import open_engine
from shared.queries.capital.accounts import read_account
from shared.queries.capital.errors import AccountNotRead
from shared.queries.capital.sources import AccountName, utc_now
from shared.queries.connections import Connections
from tests.integration.master_trader.processes import Bench

NAME = AccountName(broker=Broker.KRAKEN, account=MasterAccount("master"))


class Sampler:
    """Samples the account of a bench at times that a test chooses."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        redis = BlockingRedis.from_url(bench.redis_url, decode_responses=True)
        self.connections = Connections(engine, {Broker.KRAKEN: redis})
        self.store = CapitalStore(engine)

    def sample(self, moment: datetime) -> SampledAccount | None:
        return sample(self.connections, NAME, lambda: moment)

    def snapshots(self) -> list[CapitalSnapshot]:
        return self.store.snapshots(NAME.broker, NAME.account, utc_now() - timedelta(hours=1))


@pytest.fixture
def sampler(bench: Bench) -> Iterator[Sampler]:
    """A sampler in the process of the test."""
    engine = open_engine(bench.database_url)
    found = Sampler(bench, engine)
    yield found
    found.connections.redis_of(Broker.KRAKEN).close()
    engine.dispose()


async def until_sampled(bench: Bench, sampler: Sampler) -> CapitalSnapshot:
    """Wait until the process has stored a sample."""

    async def stored() -> bool:
        return bool(sampler.snapshots())

    await bench.until("sampled", stored)
    return sampler.snapshots()[-1]


async def until_read_again(bench: Bench, since: datetime) -> None:
    """Wait until the process has read the account after a moment."""

    async def read() -> bool:
        status = await bench.status()
        return "equity_at" in status and datetime.fromisoformat(status["equity_at"]) > since

    await bench.until("read again", read)


@pytest.mark.long
async def test_the_process_samples_its_account_while_it_watches(bench: Bench, sampler: Sampler) -> None:
    """100,000 dollars and half a bitcoin at 50,000: the first sample makes 125,000 the peak.

    An old reading gives no sample, so a broker that is away is never a loss.
    """
    process = bench.start_master()
    snapshot = await until_sampled(bench, sampler)
    record = sampler.store.record(NAME.broker, NAME.account)
    assert (snapshot.equity, snapshot.available) == (125_000, 100_000)
    assert record is not None
    assert (record.drawdown.peak, record.drawdown.state) == (125_000, DrawdownState.NORMAL)
    assert sampler.sample(utc_now()) is None
    account = read_account(sampler.connections, NAME, utc_now())
    assert account.facts.margin is None
    assert account.reading.holdings.total == {"USD": 100_000, "BTC": Decimal("0.5")}
    process.terminate()
    process.wait()
    with pytest.raises(AccountNotRead, match="is not watched at the moment"):
        sampler.sample(snapshot.at + timedelta(minutes=6))
    assert sampler.snapshots() == [snapshot]


async def test_peak_and_breaker_survive_a_process_that_is_killed(bench: Bench, sampler: Sampler) -> None:
    """The price falls while the process is dead. The next one finds the old peak, and the breaker trips once."""
    bench.paper.ask("/paper/accounts/master/balances", {"BTC": "1"})
    killed = bench.start_master()
    first = await until_sampled(bench, sampler)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    bench.paper.ask("/paper/price", {"symbol": "BTC/USD", "price": "100"})
    since = utc_now()
    bench.start_master()
    await until_read_again(bench, since)
    found = sampler.sample(first.at + timedelta(seconds=30))
    assert found is not None
    drawdown = found.sample.record.drawdown
    assert (drawdown.peak, drawdown.state) == (150_000, DrawdownState.HEAVY)
    assert drawdown.is_breaker_open(first.at + timedelta(hours=24))
    kinds = {change.kind for change in found.sample.changes}
    assert {ChangeKind.DRAWDOWN, ChangeKind.BREAKER} <= kinds
    assert sampler.store.record(NAME.broker, NAME.account) == found.sample.record


@pytest.mark.long
async def test_a_deposit_moves_the_peak_and_a_trade_does_not(bench: Bench, sampler: Sampler) -> None:
    """25,000 dollars come in while the process is dead, and a purchase is made. Only the deposit is a transfer."""
    process = bench.start_master()
    first = await until_sampled(bench, sampler)
    process.send_signal(signal.SIGKILL)
    process.wait()
    bench.paper.ask("/paper/accounts/master/balances", {"USD": "125000"})
    await bench.trade(Side.BUY, "0.1")
    since = utc_now()
    bench.start_master()
    await bench.until_all_published()
    await until_read_again(bench, since)
    found = sampler.sample(first.at + timedelta(seconds=30))
    assert found is not None
    (transfer,) = [change.after for change in found.sample.changes if change.kind is ChangeKind.TRANSFER]
    assert transfer == "25000.00 USD"
    # The fee and the spread of the purchase are a loss from the peak.
    assert 149_900 < found.sample.snapshot.equity < 150_000
    assert 149_990 < found.sample.record.drawdown.peak <= 150_010
