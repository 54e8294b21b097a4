"""`nija check keys` and `nija followers` check keys with real requests to a paper broker."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from services.cli.app import main
from services.local_system import lock
from services.local_system.record import RunRecord
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer

TRADING = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades")


class Done(NamedTuple):
    """The exit code and the output of a command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Nija = Callable[..., Done]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken."""
    server = PaperServer(Broker.KRAKEN, tmp_path_factory.mktemp("paper"))
    yield server
    server.stop()


_NUMBERS = count(1)


@pytest.fixture(autouse=True)
def _rested(paper: PaperServer) -> None:
    """Each test begins with nothing counted, as after a pause. The limits stay in force."""
    paper.pause()


@pytest.fixture
def account(paper: PaperServer) -> Callable[..., Credentials]:
    """Make a new account with the given permissions, or with those of a key that may only trade."""

    def make(name: str, *permissions: str) -> Credentials:
        return paper.new_account(f"{name}-{next(_NUMBERS)}", {"USD": "1000"}, permissions)

    return make


@pytest.fixture
def nija(
    paper: PaperServer,
    account: Callable[..., Credentials],
    fresh_redis_url: str,
    fresh_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Nija:
    """Run a command of a system whose master key may only trade."""
    master = account("master")
    environment = {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
        "KRAKEN_BASE_URL": paper.url,
        "KRAKEN_MASTER_API_KEY": master.api_key.get_secret_value(),
        "KRAKEN_MASTER_API_SECRET": master.api_secret.get_secret_value(),
    }

    def run(*arguments: str, given: str = "", **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run


def key_variables(key: Credentials) -> dict[str, str]:
    return {
        "NIJA_FOLLOWER_API_KEY": key.api_key.get_secret_value(),
        "NIJA_FOLLOWER_API_SECRET": key.api_secret.get_secret_value(),
    }


def add(nija: Nija, name: str, key: Credentials, *options: str, **variables: str) -> Done:
    return nija("followers", "add", name, "--broker", "kraken", *options, **key_variables(key), **variables)


def verdicts(done: Done) -> dict[str, str]:
    return {each["account"]: each["verdict"] for each in done.json()}


def test_a_key_that_only_trades_is_taken_and_found_fine(nija: Nija, account: Callable[..., Credentials]) -> None:
    """The key is added without a warning, and `check keys` ends with exit code 0."""
    done = add(nija, "alice", account("alice"))
    assert (done.code, done.err) == (0, "")
    checked = nija("check", "keys", "--json")
    assert checked.code == 0
    assert verdicts(checked) == {"master": "fine", "alice": "fine"}


def test_a_key_that_may_withdraw_is_refused_unless_allowed_by_name(
    nija: Nija, account: Callable[..., Credentials]
) -> None:
    """An option or a setting allows the key, and `check keys` then reports it as allowed."""
    key = account("bob", *TRADING, "withdraw-funds")
    refused = add(nija, "bob", key)
    assert refused.code == 2
    assert "may withdraw" in refused.err
    assert nija("followers", "list", "--json").json() == []
    assert add(nija, "bob", key, NIJA_ALLOW_WITHDRAW_KEYS="kraken:alice").code == 2
    assert add(nija, "bob", key, "--allow-withdraw").code == 0
    checked = nija("check", "keys", "--follower", "bob", "--json")
    assert (checked.code, verdicts(checked)) == (0, {"bob": "allowed"})


def test_the_setting_allows_by_name_for_as_long_as_it_stands(nija: Nija, account: Callable[..., Credentials]) -> None:
    """A key that is no longer in NIJA_ALLOW_WITHDRAW_KEYS is a finding."""
    key = account("carol", *TRADING, "withdraw-funds")
    allowed = {"NIJA_ALLOW_WITHDRAW_KEYS": "kraken:carol"}
    assert add(nija, "carol", key, **allowed).code == 0
    assert nija("check", "keys", "--json", **allowed).code == 0
    checked = nija("check", "keys", "--json")
    assert (checked.code, verdicts(checked)["carol"]) == (1, "may_withdraw")


def test_a_key_that_the_broker_refuses_is_not_taken(nija: Nija, account: Callable[..., Credentials]) -> None:
    """A wrong secret is reported with the words of the broker, and the secret is not repeated."""
    right = account("erin")
    wrong = right.model_copy(update={"api_secret": account("other").api_secret})
    done = add(nija, "erin", wrong)
    assert done.code == 2
    assert "refuses the key" in done.err
    assert wrong.api_secret.get_secret_value() not in done.err
    assert add(nija, "erin", wrong, "--no-check").code == 0
    checked = nija("check", "keys", "--json")
    assert (checked.code, verdicts(checked)) == (1, {"master": "fine", "erin": "refused"})
    assert nija("followers", "replace-key", "erin", **key_variables(right)).code == 0
    assert nija("check", "keys").code == 0


def test_an_import_is_refused_as_a_whole_for_one_bad_key(nija: Nija, account: Callable[..., Credentials]) -> None:
    """The text names the row, and nothing is imported."""
    good, bad = account("good"), account("bad", *TRADING, "withdraw-funds")
    rows = ["follower_id,broker,api_key,api_secret"]
    for name, key in (("good", good), ("bad", bad)):
        rows.append(f"{name},kraken,{key.api_key.get_secret_value()},{key.api_secret.get_secret_value()}")
    done = nija("followers", "import", "-", "--format", "csv", given="\n".join(rows))
    assert done.code == 2
    assert "row 2: the key may withdraw" in done.err
    assert nija("followers", "list", "--json").json() == []


def test_a_broker_that_cannot_be_asked_is_told_and_hinders_nothing(
    nija: Nija, account: Callable[..., Credentials]
) -> None:
    """The key is added with a warning. `check keys` reports that it is unchecked and ends with exit code 1."""
    away = {"KRAKEN_BASE_URL": "http://127.0.0.1:1"}
    done = add(nija, "frank", account("frank"), **away)
    assert done.code == 0
    assert "was not checked" in done.err
    checked = nija("check", "keys", "--json", **away)
    assert (checked.code, set(verdicts(checked).values())) == (1, {"not_checked"})


def test_a_master_whose_key_is_not_here_is_listed_and_no_finding(
    nija: Nija, account: Callable[..., Credentials]
) -> None:
    """The text says that the key was not checked, so that this is not mistaken for a success."""
    nowhere = {"KRAKEN_MASTER_API_KEY": "", "KRAKEN_MASTER_API_SECRET": ""}
    assert add(nija, "ivan", account("ivan")).code == 0
    checked = nija("check", "keys", "--json", **nowhere)
    assert (checked.code, verdicts(checked)) == (0, {"master": "not_set", "ivan": "fine"})
    reported = {each["account"]: each["message"] for each in checked.json()}
    assert reported["master"] == "not checked: KRAKEN_MASTER_API_KEY is not set here"
    assert reported["master"] in nija("check", "keys", **nowhere).out
    both = nija("check", "keys", "--json", NIJA_BROKERS="kraken,okx").json()
    assert [(each["broker"], each["role"], each["verdict"]) for each in both] == [
        ("okx", "master", "not_set"),
        ("kraken", "master", "fine"),
        ("kraken", "follower", "fine"),
    ]
    assert verdicts(nija("check", "keys", "--follower", "ivan", "--json", **nowhere)) == {"ivan": "fine"}


def test_beside_a_paper_system_no_real_masters_key_is_asked_about(
    nija: Nija, paper: PaperServer, account: Callable[..., Credentials], tmp_path: Path
) -> None:
    """Only the running system knows the key of its paper master. The real master's key has no place there."""
    assert add(nija, "judy", account("judy")).code == 0
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    with lock.exclusive(home):
        RunRecord(home).open("test")
        RunRecord(home).write_environment("test", {"KRAKEN_BASE_URL": paper.url}, paper=True)
        checked = nija("check", "keys", "--json")
    assert (checked.code, verdicts(checked)) == (0, {"master": "not_set", "judy": "fine"})
    assert checked.json()[0]["message"] == "not checked: only the running nija knows the paper master's key"


def test_no_connected_broker_is_a_no(nija: Nija) -> None:
    """No process has watched the master, so the exit code is 1."""
    done = nija("check", "brokers", "--json")
    assert (done.code, done.json()["connected"]) == (1, [])


@pytest.mark.parametrize("wrong", ["alice", "kraken:", "krakn:alice", "kraken:Alice Smith"])
def test_a_wrong_name_in_the_setting_is_told(nija: Nija, wrong: str) -> None:
    """The text names the variable and a right value, and the exit code is 2."""
    done = nija("check", "keys", NIJA_ALLOW_WITHDRAW_KEYS=wrong)
    assert done.code == 2
    assert "NIJA_ALLOW_WITHDRAW_KEYS" in done.err


def test_a_key_of_another_region_is_explained(nija: Nija, tmp_path: Path) -> None:
    """OKX reports only that the key does not exist. The finding names the hosts and the setting."""
    server = PaperServer(Broker.OKX, tmp_path)
    try:
        key = server.new_account("a-person", {"USDT": "1000"}, ())
        elsewhere = {
            "OKX_BASE_URL": server.url,
            "OKX_API_KEY": "0b1c2d3e-0000-4111-8222-0123456789ab",
            "OKX_API_SECRET": key.api_secret.get_secret_value(),
            "OKX_PASSPHRASE": "Correct Horse 1!",
        }
        checked = nija("check", "keys", "--broker", "okx", **elsewhere)
    finally:
        server.stop()
    assert checked.code == 1
    shown = " ".join(checked.out.split())
    assert "OKX_BASE_URL=https://eea.okx.com" in shown
    assert "OKX_BASE_URL=https://us.okx.com" in shown


def test_a_cut_key_is_explained_by_its_length(nija: Nija, account: Callable[..., Credentials]) -> None:
    """The unusual length is reported with the broker's refusal and without a check.

    Nothing else of the key is shown.
    """
    key = account("grace")
    cut = key.api_key.get_secret_value()[:-3]
    hint = "the API key of kraken usually has 56 characters (this one has 53 characters)"
    refused = add(nija, "grace", key.model_copy(update={"api_key": SecretStr(cut)}))
    assert refused.code == 2
    assert hint in refused.err
    taken = add(nija, "grace", key.model_copy(update={"api_key": SecretStr(cut)}), "--no-check")
    assert (taken.code, taken.err) == (0, f"nija: {hint}\n")
    assert cut not in refused.err + taken.err + taken.out
