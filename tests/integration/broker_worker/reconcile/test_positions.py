"""Copied positions are compared with the account, and are lowered on request only and under the claim."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.events import EVENT
from shared.domain.identity import Broker
from shared.domain.reconciliation.drift import Cause
from shared.messaging.mailboxes import ClaimLost
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.reports.reports import Reports
from tests.integration.broker_worker.reconcile.conftest import Nija
from tests.support.examples import an_order
from tests.support.running.reconcile_bench import bought, reconciled, working
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench


async def test_who_holds_what_was_copied_and_more_has_no_drift(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The account is read, and coins of its own beyond the copied position are no drift."""
    await bought(bench, engine)
    async with working(bench, engine):
        found = await reconciled(redis, engine)
    assert (found.asked, found.drifts, found.unread) == (1, [], {})
    assert found.readings["alice"].total["BTC"] == bench.account.free["BTC"]
    assert await redis.exists(KEYS.reconciliation_requests, KEYS.readings) == 0


async def test_a_manual_sale_is_shown_and_repaired_on_request_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """The position is lowered in Redis and in the ledger, with actor and reason. The next close sells what is there."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        [drift] = (await reconciled(redis, engine)).drifts
        assert (drift.cause, drift.drift) == (Cause.MANUAL_SALE, Decimal("-0.0006"))
        assert (await bench.position()).quantity == Decimal("0.001")
        repaired = await reconciled(redis, engine, repair=True)
        assert ([each.asset for each in repaired.repaired], repaired.drifts) == (["BTC"], [])
        again = await reconciled(redis, engine, repair=True)
        assert (again.repaired, again.drifts) == ([], [])
    assert (await bench.position()).quantity == Decimal("0.0004")
    [line] = Reports(engine).positions(Broker.KRAKEN)
    assert line.quantity == Decimal("0.0004")
    assert [each.position.quantity for each in Copies(engine, Broker.KRAKEN).positions()] == [Decimal("0.0004")]
    with engine.connect() as connection:
        [row] = connection.execute(text("SELECT actor, quantity_before, quantity_after FROM position_adjustments"))
    assert tuple(row) == ("cli:test", Decimal("0.001"), Decimal("0.0004"))
    await bench.deliver(an_order(sequence=2, fraction="1"))
    await bench.serve()
    Ledger(engine).write(await bench.events())
    assert bench.account.placed[-1].quantity == Decimal("0.0004")
    assert Reports(engine).positions(Broker.KRAKEN) == []


async def test_what_a_removed_follower_holds_is_its_owners(
    bench: WorkerBench, redis: Redis, engine: Engine, nija: Nija
) -> None:
    """Without a key the account of a removed follower is not read, and that is no finding."""
    store = FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
    store.add(Broker.KRAKEN, "alice", CREDENTIALS, actor="test")
    await bought(bench, engine)
    async with working(bench, engine):
        assert (await reconciled(redis, engine)).asked == 1
    store.remove(Broker.KRAKEN, "alice", actor="test")
    found = await reconciled(redis, engine, timeout_seconds=0.5)
    assert (found.asked, found.unread, found.drifts) == (0, {}, [])
    code, printed = await nija("reconcile")
    assert (code, printed.splitlines()[-1][:18]) == (0, "nothing to compare")


async def test_events_of_an_adjustment_are_written_once(bench: WorkerBench, redis: Redis, engine: Engine) -> None:
    """If the same batch is written again, as after a crash of the bookkeeper, nothing changes."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        await reconciled(redis, engine, repair=True)
    events = [EVENT.validate_json(each.model_dump_json()) for each in await bench.events()]
    Ledger(engine).write(events)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM position_adjustments")) == 1
    assert datetime.now(UTC) > Reports(engine).positions(Broker.KRAKEN)[0].occurred_at


async def test_a_position_is_adjusted_under_the_claim_and_with_an_empty_mailbox_only(
    bench: WorkerBench, redis: Redis, engine: Engine
) -> None:
    """New mail or a claim that was lost prevents the adjustment. Position and events stay unchanged."""
    await bought(bench, engine)
    await redis.zadd(KEYS.ready, {"alice": 0})
    [claimed] = await bench.claim()
    events = await redis.xlen(KEYS.events)
    lower = CopiedPosition(quantity=Decimal("0.0001"), carried_exit=Decimal(0))
    await bench.deliver(an_order(sequence=2))
    assert not await bench.mailboxes.adjust(claimed.claim, "BTC", lower, b"{}")
    await redis.delete(KEYS.mailbox("alice"))
    await bench.mailboxes.release(claimed.claim)
    with pytest.raises(ClaimLost):
        await bench.mailboxes.adjust(claimed.claim, "BTC", lower, b"{}")
    assert (await redis.xlen(KEYS.events), (await bench.position()).quantity) == (events, Decimal("0.001"))


async def test_drift_that_passes_by_itself_is_told_so(
    bench: WorkerBench, redis: Redis, engine: Engine, nija: Nija
) -> None:
    """If waiting helps and no repair does, the last line says to ask again. It does not say "nothing to compare"."""
    await bought(bench, engine)
    bench.account.free["BTC"] = Decimal("0.0004")
    async with working(bench, engine):
        code, printed = await nija("reconcile")
    assert (code, "just settled" in printed) == (1, True)
    assert "ask again" in printed.splitlines()[-1]
    assert "nothing to compare" not in printed
