"""The reading commands of `nija` report correctly about a running system."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

Nija = Callable[..., Any]


def test_status_tells_who_runs_and_that_all_is_well(running: Any, nija: Nija) -> None:
    """Status shows the run, every process with its sign of life, the master, the followers and the last fill."""
    done = nija("status", "--json", folder=running.folder)
    found = done.json()
    assert (done.returncode, found["healthy"], found["findings"]) == (0, True, [])
    assert (found["run"]["pid"], found["run"]["paper"]) == (running.pid, True)
    processes = {each["name"]: each for each in found["processes"]}
    assert {each["state"] for each in processes.values()} == {"running"}
    assert processes["redis"]["heartbeat_age_seconds"] is None
    assert processes["copy_engine"]["heartbeat_age_seconds"] < 30
    [kraken] = found["brokers"]
    assert kraken["pipeline"]["master"]["state"] == "watching"
    assert Decimal(kraken["pipeline"]["master"]["equity"]) > 0
    assert [kraken["pipeline"][name] for name in ("orders_waiting", "unknown_orders", "dead_letters")] == [0, 0, 0]
    assert kraken["ledger"]["followers"] == {"active": 3}
    assert (kraken["ledger"]["last_fill"]["sequence"], kraken["ledger"]["last_fill"]["copied"]) == (2, 3)


def test_status_for_people_ends_with_the_verdict(running: Any) -> None:
    """No line is wider than 80 columns, and the last line is the verdict."""
    done = running.command("status", columns=80)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"process {running.pid}, " in done.stdout
    assert done.stdout.splitlines()[-1] == "everything is well"


def test_check_brokers_counts_who_is_connected(running: Any, nija: Nija) -> None:
    """The command prints how many brokers are connected and served, and which ones."""
    done = nija("check", "brokers", folder=running.folder)
    assert (done.returncode, done.stdout) == (0, "connected: 1 of 1 (kraken)\nserved: 1 of 1 (kraken)\n")


def test_status_without_any_nija_says_how_to_start_one(nija: Nija) -> None:
    """The exit code is 1, the text says how to start nija, and `--json` reports no run."""
    done = nija("status")
    assert done.returncode == 1
    assert "no nija runs on .nija: start `nija up`" in done.stdout
    found = nija("status", "--json")
    assert found.returncode == 1
    assert found.json()["healthy"] is False
    assert found.json()["run"] is None


def test_status_tells_the_rest_when_a_server_is_away(running: Any, nija: Nija) -> None:
    """Without Redis the ledger is still shown, and without PostgreSQL the pipeline.

    The exit code is 1 in both cases.
    """
    servers = running.variables() | {"NIJA_BROKERS": "kraken"}
    del servers["KRAKEN_BASE_URL"]
    no_redis = nija("status", "--json", **servers | {"REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"})
    assert no_redis.returncode == 1
    [kraken] = no_redis.json()["brokers"]
    assert kraken["pipeline"] is None
    assert kraken["ledger"]["last_fill"]["copied"] == 3
    [found] = no_redis.json()["findings"]
    assert (found["kind"], found["broker"], found["subject"]) == ("redis_unreachable", "kraken", "Redis")
    assert "secret-word" not in no_redis.stdout
    no_database = nija("status", "--json", **servers | {"DATABASE_URL": "postgresql://u:secret-word@127.0.0.1:1/nija"})
    assert no_database.returncode == 1
    [kraken] = no_database.json()["brokers"]
    assert kraken["ledger"] is None
    assert kraken["pipeline"]["master"]["state"] == "watching"
    [found] = no_database.json()["findings"]
    assert (found["kind"], found["broker"], found["subject"]) == ("database_unreachable", None, "PostgreSQL")
    assert "secret-word" not in no_database.stdout


def test_status_elsewhere_asks_the_servers_that_are_set(running: Any, nija: Nija) -> None:
    """In a folder without a run, REDIS_URL and DATABASE_URL are enough. The brokers that have followers are shown."""
    servers = {name: running.variables()[name] for name in ("REDIS_URL", "DATABASE_URL")}
    done = nija("status", "--json", **servers)
    assert (done.returncode, done.json()["findings"]) == (0, [])
    assert [each["broker"] for each in done.json()["brokers"]] == ["kraken"]
    assert "this is what REDIS_URL and DATABASE_URL say" in nija("status", **servers).stdout


def test_fills_add_up_for_every_follower(running: Any, nija: Nija) -> None:
    """The newest fill is first, amounts are exact text, times are UTC, and the counts add up to the followers."""
    found = nija("fills", "--json", folder=running.folder).json()
    assert [(fill["sequence"], fill["side"], fill["quantity"]) for fill in found] == [
        (2, "sell", "0.05"),
        (1, "buy", "0.2"),
    ]
    for fill in found:
        assert sum(fill[name] for name in ("copied", "skipped", "failed", "pending")) == fill["followers"] == 3
        assert fill["executed_at"].endswith("Z")
        assert fill["latency_ms"]["total"]["p50"] > 0
    assert [fill["sequence"] for fill in nija("fills", "-n", "1", "--json", folder=running.folder).json()] == [2]
    assert nija("fills", "-b", "okx", "--json", folder=running.folder).json() == []
    assert "no fills at okx yet" in nija("fills", "-b", "okx", folder=running.folder).stdout


def test_orders_can_be_told_apart_by_every_filter(running: Any, nija: Nija) -> None:
    """Follower, fill and state each select their own share of the six orders."""

    def numbers(*arguments: str) -> list[tuple[int, str]]:
        found = nija("orders", *arguments, "--json", folder=running.folder).json()
        return [(order["sequence"], order["follower_id"]) for order in found]

    names = ["paper_one", "paper_three", "paper_two"]
    assert numbers() == [(2, name) for name in names] + [(1, name) for name in names]
    assert numbers("-f", "paper_two") == [(2, "paper_two"), (1, "paper_two")]
    assert numbers("--fill", "1") == numbers("--fill", "Kraken:1") == [(1, name) for name in names]
    assert len(numbers("--state", "FILLED")) == 6
    assert numbers("--unknown") == numbers("--state", "queued") == []
    assert numbers("-b", "kraken", "-n", "1") == [(2, "paper_one")]
    never = nija("orders", "--fill", "999", folder=running.folder)
    assert never.returncode == 2
    assert "there is no fill 999; `nija fills` shows which there are" in never.stderr
    for fill, words in (
        ("kraken:999", "there is no fill 999 at kraken"),
        ("okx:1", "there is no fill 1 at okx"),
        ("first", "'first' should be a number such as 12, or kraken:12"),
        ("0", "there is no fill 0"),
    ):
        wrong = nija("orders", "--fill", fill, folder=running.folder)
        assert wrong.returncode == 2
        assert words in wrong.stderr
    both = nija("orders", "--fill", "kraken:1", "-b", "okx", folder=running.folder)
    assert (both.returncode, "--broker: kraken:1 is a fill of kraken, not of okx" in both.stderr) == (2, True)
    empty = nija("orders", "--unknown", "-f", "paper_two", folder=running.folder)
    assert (empty.returncode, empty.stdout) == (0, "no copy orders of paper_two in state unknown\n")


def test_positions_are_what_the_orders_built_up(running: Any, nija: Nija) -> None:
    """Each position is exactly the bought minus the sold quantity of that follower's orders."""
    built: dict[str, Decimal] = {}
    for order in nija("orders", "--json", folder=running.folder).json():
        sign = 1 if order["side"] == "buy" else -1
        built[order["follower_id"]] = built.get(order["follower_id"], Decimal(0)) + sign * Decimal(
            order["filled_quantity"]
        )
    found = nija("positions", "--json", folder=running.folder).json()
    assert {each["follower_id"]: Decimal(each["quantity"]) for each in found} == built
    one = nija("positions", "-f", "paper_one", "--asset", "btc", "--json", folder=running.folder).json()
    assert [each["asset"] for each in one] == ["BTC"]
    none = nija("positions", "--asset", "ETH", "--all", folder=running.folder)
    assert (none.returncode, none.stdout) == (0, "no copied positions in ETH\n")


@pytest.mark.parametrize(
    ("command", "name"), [("orders", "filled_quantity"), ("positions", "quantity"), ("fills", "price")]
)
def test_tables_fit_80_columns_and_break_no_number(running: Any, nija: Nija, command: str, name: str) -> None:
    """Every exact amount of the JSON is in the table unbroken, and no line is wider than the screen."""
    table = running.command(command, columns=80).stdout
    assert max(map(len, table.splitlines())) <= 80
    exact = [each[name] for each in nija(command, "--json", folder=running.folder).json()]
    assert exact
    assert set(exact) <= set(table.split())
    assert "UTC" in table or command == "orders"


def test_in_a_pipe_a_row_is_a_line(running: Any) -> None:
    """Output into a pipe is not wrapped, so that grep finds whole rows."""
    rows = [line for line in running.command("orders").stdout.splitlines() if re.match(r" +\d+ ", line)]
    assert len(rows) == 6
    assert all("BTC/USD" in row and "filled" in row for row in rows)


def test_followers_are_listed_with_how_their_fills_ended(running: Any) -> None:
    """The JSON list and the table show the same three followers."""
    listed = json.loads(running.command("followers", "list", "--json").stdout)
    assert {each["follower_id"]: each["copied"] for each in listed} == {
        "paper_one": 2,
        "paper_two": 2,
        "paper_three": 2,
    }
    table = running.command("followers", "list", columns=80).stdout
    assert max(map(len, table.splitlines())) <= 80
    assert all(each["follower_id"] in table for each in listed)


def test_masters_and_subscriptions_are_listed(running: Any) -> None:
    """The list of masters counts the followers that the list of subscriptions names. Both fit 80 columns."""
    [master] = json.loads(running.command("masters", "list", "--json").stdout)
    assert (master["broker"], master["state"], master["last_sequence"]) == ("kraken", "watching", 2)
    assert master["followers"] == {"active": 3}
    assert master["watched_since"] < master["last_fill_at"] < master["last_poll_at"]
    assert Decimal(master["balance"]["total_equity_usd"]) > 0
    subscriptions = json.loads(running.command("subscriptions", "list", "--json").stdout)
    assert {(each["follower_id"], each["master"], each["status"]) for each in subscriptions} == {
        (name, master["master"], "active") for name in ("paper_one", "paper_two", "paper_three")
    }
    for command in ("masters", "subscriptions"):
        table = running.command(command, "list", columns=80).stdout
        assert max(map(len, table.splitlines())) <= 80
        assert "kraken" in table


def test_replay_computes_the_decisions_of_a_fill_again(running: Any, nija: Nija) -> None:
    """A fill can be named by number or by id. All decisions are identical, and an unknown fill is wrong use."""
    done = nija("replay", "1", "--json", folder=running.folder)
    found = done.json()
    assert (done.returncode, found["decisions"], found["identical"], found["differences"]) == (0, 3, 3, [])
    by_id = nija("replay", found["fill"]["fill_id"], "--broker", "kraken", folder=running.folder)
    assert by_id.returncode == 0
    assert "3 decisions computed again, all identical" in by_id.stdout
    unknown = nija("replay", "999", folder=running.folder)
    assert unknown.returncode == 2
    assert "there is no fill '999'; `nija fills` shows which there are" in unknown.stderr


def test_reconcile_finds_that_everybody_holds_what_was_copied(running: Any, nija: Nija) -> None:
    """The workers read the three accounts within seconds and find no drift. `--repair` then changes nothing."""
    done = nija("reconcile", "--json", "--timeout", "30", folder=running.folder)
    found = done.json()
    assert (done.returncode, found["accounts"], found["read"]) == (0, 3, 3)
    assert found["drifts"] == found["unread"] == found["repaired"] == []
    one = nija("reconcile", "--follower", "paper_one", "--repair", "--timeout", "30", folder=running.folder)
    assert (one.returncode, one.stdout.splitlines()[-1]) == (0, "1 account holds what was copied")
    assert (
        json.loads(running.command("positions", "--json").stdout)
        == nija("positions", "--json", folder=running.folder).json()
    )


def test_reconcile_refuses_who_is_not_there(running: Any, nija: Nija) -> None:
    """An unknown follower is wrong use: exit code 2, with a similar follower id as a suggestion."""
    done = nija("reconcile", "--follower", "paper_on", folder=running.folder)
    assert done.returncode == 2
    assert "did you mean paper_one" in done.stderr
