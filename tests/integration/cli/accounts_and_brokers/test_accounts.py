"""`nija accounts` shows each account with its balance, its failures and its copied positions."""

import os
import sys
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.cli.app import main
from shared.brokers.errors import OutcomeUnknown
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.store import FollowerStore
from tests.integration.cli.accounts_and_brokers.conftest import Nija
from tests.integration.cli.accounts_and_brokers.seeding import in_redis, read, report_master


@pytest.mark.usefixtures("followers")
def test_accounts_show_balances_and_failures(nija: Nija, environment: dict[str, str]) -> None:
    """An account is shown with its parts. After failures the last balance is marked as stale.

    An account that was never read has no balance, which is not zero.
    """

    async def seed(redis: Redis) -> None:
        await read(redis, "alice")
        for _ in range(3):
            await read(redis, "alice", OutcomeUnknown("HTTP 502"))
        await read(redis, "bob", OutcomeUnknown("HTTP 503"))

    in_redis(environment["REDIS_URL"], seed)
    code, (alice, bob) = nija("accounts", "--broker", "kraken")
    assert code == 0
    assert (alice["user_id"], alice["role"], alice["broker"]) == ("alice", "follower", "kraken")
    assert Decimal(alice["balance"]["total_equity_usd"]) == 6_000
    assert Decimal(alice["balance"]["available_usd"]) == 1_000
    assert Decimal(alice["balance"]["locked_in_positions_usd"]) == 5_000
    assert alice["balance"]["unpriced"] == ["ODD"]
    assert (alice["balance"]["stale"], alice["connected"], alice["available_for_opens"]) == (True, False, False)
    assert (alice["failed_reads"], alice["error"]) == (3, "HTTP 502")
    assert (bob["balance"], bob["connected"], bob["error"]) == (None, False, "HTTP 503")
    in_redis(environment["REDIS_URL"], lambda redis: read(redis, "alice"))
    _, (alice,) = nija("accounts", "--follower", "alice")
    assert (alice["balance"]["stale"], alice["connected"], alice["available_for_opens"]) == (False, True, True)


@pytest.mark.usefixtures("followers")
def test_the_table_of_accounts_counts_copied_positions_of_followers_only(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is copied to a master, so its row has no number of copied positions."""
    in_redis(environment["REDIS_URL"], report_master)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment)
        patch.setattr(sys, "argv", ["nija", "accounts", "--broker", "kraken"])
        with pytest.raises(SystemExit):
            main()
    rows = {line.split()[0]: line.split() for line in capfd.readouterr().out.splitlines() if line.split()}
    assert "copied" in rows["account"]
    assert rows["master"][-1] == "–"
    assert "–" in rows["alice"]
    assert "0" in rows["alice"]


@pytest.mark.usefixtures("followers")
def test_a_removed_follower_has_no_account_to_show(
    nija: Nija, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The text says that the follower was removed, not that there are no followers."""
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    FollowerStore(engine).remove(Broker.KRAKEN, "alice", actor="test")
    engine.dispose()
    assert nija("accounts", "--follower", "alice") == (0, [])
    for place, arguments in (("", []), (" at kraken", ["--broker", "kraken"])):
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment)
            patch.setattr(sys, "argv", ["nija", "accounts", "--follower", "alice", *arguments])
            with pytest.raises(SystemExit):
                main()
        reported = f"alice{place} was removed: nija has no key to read the account any more\n"
        assert capfd.readouterr().out == reported
