"""`nija followers` adds, shows, pauses, resumes and removes followers, with the right exit codes."""

import json
import re

import pytest
from redis import Redis

from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.ledger import Ledger
from tests.integration.cli.followers.command import API_KEY, MASTER_KEY, SECRET, Nija, listed
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event


def test_one_of_something_is_not_several(nija: Nija, alice: None) -> None:
    """The text uses the singular for one follower."""
    assert nija("list").stdout.splitlines()[-1] == "1 follower"
    assert nija("register").stdout.splitlines()[0] == "0 followers in the environment"


def test_a_follower_is_added_shown_paused_resumed_and_removed(
    nija: Nija, alice: None, environment: dict[str, str]
) -> None:
    """A follower passes through its whole life. Each change raises the version of the roster for the engines."""
    shown = json.loads(nija("show", "alice", "--json").stdout)
    assert (shown["status"], shown["key"]["api_key"]) == ("active", "…1234")
    assert API_KEY not in nija("show", "alice").stdout
    assert nija("pause", "alice", "--reason", "holiday").returncode == 0
    assert listed(nija)["alice"]["status"] == "paused"
    assert nija("resume", "alice").returncode == 0
    assert json.loads(nija("remove", "alice", "--json").stdout)["status"] == "removed"
    assert listed(nija) == {}
    assert [each["after"] for each in json.loads(nija("show", "alice", "--json").stdout)["changes"]] == [
        "removed",
        "active",
        "paused",
        "database",
    ]
    with Redis.from_url(environment["REDIS_URL"]) as redis:
        assert int(redis.get(BrokerKeys(Broker.KRAKEN).roster)) == 4


def test_resume_needs_one_follower_or_all(nija: Nija, alice: None) -> None:
    """Neither or both is wrong use. `--all` without a disabled follower resumes none and is well."""
    for arguments in ((), ("alice", "--all")):
        refused = nija("resume", *arguments)
        assert refused.returncode == 2
        assert "name one follower, or give --all" in refused.stderr
    found = nija("resume", "--all", "--json")
    assert (found.returncode, json.loads(found.stdout)) == (0, {"resumed": [], "still_disabled": []})


def test_a_follower_is_shown_in_words(nija: Nija, alice: None) -> None:
    """The text has no Python notation. It shows policy, key and missing values as words."""
    shown = " ".join(nija("show", "alice").stdout.split())
    assert all(reported in shown for reported in ("policy minimum notional 1 ", "paper no ", "passphrase – "))
    assert not set("{}[]'") & set(shown)
    # Times are local with their zone, as in all text output.
    assert re.search(r"created at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\S+\) ", shown)
    assert "T" not in shown.partition("created at ")[2][:20]


def test_a_removal_tells_what_stays_in_the_market(nija: Nija, alice: None, environment: dict[str, str]) -> None:
    """The copied position now belongs to the account owner. The text says that nija will not sell it."""
    engine = open_engine(environment["DATABASE_URL"], pool_size=1)
    Ledger(engine).write([a_batch(a_decision("alice")), a_filled_event("alice", position_after="0.40102588")])
    engine.dispose()
    assert nija("remove", "alice").stdout.splitlines() == [
        "alice at kraken removed; its id stays taken",
        "stay open: 0.40102588 BTC; nija will not sell them",
    ]


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (("add", "alice", "-b", "kraken"), {}, "NIJA_FOLLOWER_API_KEY"),
        (("add", "alice", "-b", "kracken"), {}, "unknown broker 'kracken'"),
        (("add", "Alice!", "-b", "kraken"), {}, "lowercase"),
        (
            ("add", "alice", "-b", "kraken"),
            {"NIJA_FOLLOWER_API_KEY": "k", "NIJA_FOLLOWER_API_SECRET": "not base64"},
            "malformed key",
        ),
        (
            ("add", "alice", "-b", "kraken"),
            {"NIJA_FOLLOWER_API_KEY": MASTER_KEY, "NIJA_FOLLOWER_API_SECRET": SECRET},
            "master's own key",
        ),
        (
            ("add", "alice", "-b", "kraken"),
            {"NIJA_SECRET_KEY": "", "NIJA_FOLLOWER_API_KEY": "k", "NIJA_FOLLOWER_API_SECRET": SECRET},
            "NIJA_SECRET_KEY is missing",
        ),
        (("add", "alice", "-b", "kraken", "--api-key-file", "/no/such/file"), {}, "--api-key-file"),
        (("show", "nobody"), {}, "nobody"),
        (("pause", "nobody", "-b", "kraken"), {}, "nobody"),
        (("import", "/no/such/file.csv"), {}, "cannot be read"),
        (("import", "/etc/hostname"), {}, "--format"),
    ],
)
def test_wrong_use_is_code_2_with_the_right_words(
    nija: Nija, arguments: tuple[str, ...], variables: dict[str, str], named: str
) -> None:
    """Each mistake is reported with its setting or argument, and nothing is stored."""
    done = nija(*arguments, **variables)
    assert done.returncode == 2
    assert named in done.stderr
    assert listed(nija) == {}


def test_without_redis_nothing_is_changed(nija: Nija) -> None:
    """The stages could not be notified, so the change is refused. The user made no mistake, so the exit code is 1."""
    away = {"REDIS_URL": "redis://127.0.0.1:1/0", "NIJA_FOLLOWER_API_KEY": API_KEY, "NIJA_FOLLOWER_API_SECRET": SECRET}
    done = nija("add", "alice", "-b", "kraken", **away)
    assert done.returncode == 1
    assert "Redis" in done.stderr
    assert listed(nija) == {}


def test_a_taken_id_is_code_2_and_changes_nothing(nija: Nija, alice: None) -> None:
    """The existing alice keeps her key."""
    done = nija(
        "add", "alice", "-b", "kraken", NIJA_FOLLOWER_API_KEY="another-key-9999", NIJA_FOLLOWER_API_SECRET=SECRET
    )
    assert done.returncode == 2
    assert "taken" in done.stderr
    assert json.loads(nija("show", "alice", "--json").stdout)["key"]["api_key"] == "…1234"


def test_an_id_at_two_brokers_needs_the_broker(nija: Nija, alice: None) -> None:
    """A command does not guess which of two followers with the same id is meant."""
    done = nija(
        "add", "alice", "-b", "binance", NIJA_FOLLOWER_API_KEY="other-key", NIJA_FOLLOWER_API_SECRET="other-secret"
    )
    assert done.returncode == 0, done.stderr
    done = nija("pause", "alice")
    assert done.returncode == 2
    assert "binance, kraken" in done.stderr
    assert nija("pause", "alice", "-b", "kraken").returncode == 0
    statuses = {each["broker"]: each["status"] for each in json.loads(nija("list", "--json").stdout)}
    assert statuses == {"binance": "active", "kraken": "paused"}
