"""`nija stop` says what it does and asks, `nija resume` says what stays stopped, and both are seen everywhere."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from services.cli.app import main
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import parse_stop_state
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.stops import StopStore

Nija = Callable[..., tuple[int, str, str]]
KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)
SECRET_KEY = "h1JwJ3Cj1m1lKxHqk2oK8w3rJm4Vn0cYy5pQk2s7x0E="


@pytest.fixture
def nija(
    fresh_database_url: str,
    fresh_redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Nija:
    """Runs `nija …` on a system of Kraken and OKX with the followers alice and bob at Kraken."""
    engine = open_engine(fresh_database_url, pool_size=1)
    store = FollowerStore(engine, SecretBox(SecretStr(SECRET_KEY)))
    for name in ("alice", "bob"):
        key = Credentials(api_key=SecretStr(f"key-{name}"), api_secret=SecretStr("c2VjcmV0"))
        store.add(KRAKEN, FollowerId(name), key, actor="test")
    engine.dispose()

    def run(*arguments: str, answer: str = "", **variables: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            environment = {
                "NIJA_ENV_FILE": "",
                "NIJA_CONFIG_FILE": "",
                "NIJA_HOME": str(tmp_path / "home"),
                "NIJA_BROKERS": "kraken,okx",
                "DATABASE_URL": fresh_database_url,
                "REDIS_URL": fresh_redis_url,
            }
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(answer))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return int(ended.value.code or 0), " ".join(output.out.split()), " ".join(output.err.split())

    return run


def is_stopped(database_url: str) -> bool:
    """Whether any stop stands."""
    engine = open_engine(database_url, pool_size=1)
    stops = StopStore(engine).standing().stops
    engine.dispose()
    return bool(stops)


def test_it_says_what_it_will_do_and_asks(nija: Nija, fresh_database_url: str) -> None:
    """Without an answer, or with another one than y, nothing is stopped."""
    for answer in ("", "n\n"):
        code, out, error = nija("stop", "--broker", "kraken", answer=answer)
        assert (code, out) == (2, "")
        assert "halt for kraken, 2 followers. No new order is sent. Opens are skipped, and exits wait" in error
        assert "--yes: nothing was stopped" in error
    assert not is_stopped(fresh_database_url)
    code, out, _ = nija("stop", "--broker", "kraken", answer="y\n")
    assert code == 0
    assert "`nija resume --broker kraken` ends it." in out
    assert is_stopped(fresh_database_url)


def test_a_stop_is_mirrored_shown_and_ended(nija: Nija, fresh_redis_url: str) -> None:
    """`nija status` and `nija health` have a finding for it, with actor and reason. So their exit code is 1."""
    assert nija("stop", "--yes", "--reason", "a drill", "--follower", "alice", "--mode", "close-only")[0] == 0
    assert nija("stop", "--yes", "--broker", "okx")[0] == 0
    with Redis.from_url(fresh_redis_url) as redis:
        state = parse_stop_state(redis.get(KEYS.stop))
    assert (state.broker_mode, state.follower_modes) == (None, {"alice": "close-only"})
    for command in ("status", "health"):
        code, out, _ = nija(command, "--json")
        found = [each for each in json.loads(out)["findings"] if each["kind"] == "stopped"]
        assert (code, [each["subject"] for each in found]) == (1, ["alice", "trading"])
        assert "a drill" in found[0]["message"]
        assert "by cli" in found[0]["message"]
    assert "stopped alice (close-only)" in nija("status")[1]
    code, out, _ = nija("resume", "--follower", "alice", "--broker", "kraken")
    assert code == 0
    assert out.startswith("trading: alice at kraken is resumed still stopped: okx (halt, since ")
    assert out.endswith("`nija resume --broker okx` ends it")
    code, out, _ = nija("resume", "--broker", "okx")
    assert (code, out) == (0, "trading: okx is resumed")
    assert "stopped" not in {each["kind"] for each in json.loads(nija("status", "--json")[1])["findings"]}


def test_a_stopped_broker_is_shown_where_brokers_are_shown(nija: Nija) -> None:
    """`nija brokers` has a finding for it. `nija check brokers` names it, and only it."""
    nija("stop", "--yes", "--broker", "okx", "--mode", "close-only")
    facts = {each["broker"]: each for each in json.loads(nija("brokers", "--json")[1])}
    assert facts["okx"]["stop"]["broker_mode"] == "close-only"
    assert "okx: trading is stopped (close-only); see `nija status`" in nija("brokers")[1]
    assert json.loads(nija("check", "brokers", "--json")[1])["stopped"] == {"okx": "close-only"}
    assert "stopped: okx (close-only)" in nija("check", "brokers")[1]


def test_a_resumption_without_a_stop_says_so(nija: Nija) -> None:
    """The exit code is 0. It names what other scopes keep stopped."""
    nija("stop", "--yes")
    code, out, _ = nija("resume", "--broker", "kraken")
    assert code == 0
    assert out.startswith("trading: kraken was not stopped, so there is nothing to resume still stopped: all brokers (")
    code, out, _ = nija("resume", "--json")
    assert (code, json.loads(out)["standing"], json.loads(out)["before"]["mode"]) == (0, [], "halt")


def test_a_second_stop_changes_the_mode(nija: Nija) -> None:
    """The text names the mode before."""
    nija("stop", "--yes")
    code, out, _ = nija("stop", "--yes", "--mode", "close-only")
    assert code == 0
    assert out.startswith("all brokers: close-only (before: halt). Opens are skipped, and exits go on.")


def test_a_redis_that_is_away_is_named(nija: Nija, fresh_database_url: str) -> None:
    """The stop is stored. OKX has a Redis of its own, which does not answer."""
    code, out, error = nija("stop", "--yes", OKX_REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert out.startswith("all brokers: halt.")
    assert "nija: okx: the change is stored, and its processes see it as soon as Redis answers" in error
    assert "kraken" not in error
    assert is_stopped(fresh_database_url)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stop", "--yes", "--mode", "stop"], "--mode: unknown mode 'stop'; the modes are halt, close-only"),
        (["stop", "--yes", "--broker", "krakn"], "--broker: unknown broker 'krakn'"),
        (["stop", "--yes", "--follower", "nobody"], "--follower: there is no follower 'nobody'"),
        (["stop", "--yes", "--follower", "alice", "-b", "okx"], "--follower: there is no follower 'alice' at okx"),
        (["stop", "--yes", "--follower", "No Body"], "'No Body' is not valid"),
        (["resume", "--broker", "krakn"], "--broker: unknown broker 'krakn'"),
        (["resume", "--follower", "nobody"], "--follower: there is no follower 'nobody'"),
    ],
)
def test_wrong_use_gets_one_line(nija: Nija, fresh_database_url: str, arguments: list[str], said: str) -> None:
    """It names the option and what would be right, and nothing is stopped."""
    code, out, error = nija(*arguments)
    assert (code, out) == (2, "")
    assert said in error
    assert not is_stopped(fresh_database_url)
