"""`nija followers` manages followers with the right exit codes and never prints a secret."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from services.cli.app import main
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.ledger import Ledger
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event

SECRET = "dGhlLXNlY3JldC1vZi1hbGljZQ=="
API_KEY = "the-api-key-of-alice-1234"
MASTER_KEY = "the-key-of-the-master"


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command that has ended."""

    returncode: int
    stdout: str
    stderr: str


Nija = Callable[..., Done]


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a system with a master at Kraken."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "KRAKEN_MASTER_API_KEY": MASTER_KEY,
        "KRAKEN_MASTER_API_SECRET": SECRET,
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@pytest.fixture
def nija(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nija:
    """Run `nija followers …` in this process, and check that the output contains no secret."""

    def run(*arguments: str, given: str = "", **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", "followers", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        assert SECRET not in output.out + output.err
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def alice(nija: Nija) -> None:
    """A follower that was added with its key in the environment."""
    done = nija("add", "alice", "--broker", "kraken", NIJA_FOLLOWER_API_KEY=API_KEY, NIJA_FOLLOWER_API_SECRET=SECRET)
    assert done.returncode == 0, done.stderr


def test_one_of_something_is_not_several(nija: Nija, alice: None) -> None:
    """The text uses the singular for one follower."""
    assert nija("list").stdout.splitlines()[-1] == "1 follower"
    assert nija("register").stdout.splitlines()[0] == "0 followers in the environment"


def listed(nija: Nija) -> dict[str, Any]:
    return {each["follower_id"]: each for each in json.loads(nija("list", "--json").stdout)}


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


def test_a_follower_is_shown_in_words(nija: Nija, alice: None) -> None:
    """The text has no Python notation. It shows policy, key and missing values as words."""
    shown = " ".join(nija("show", "alice").stdout.split())
    assert all(told in shown for told in ("policy minimum notional 1 ", "paper no ", "passphrase – "))
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


def test_keys_come_from_files_too(nija: Nija, tmp_path: Path) -> None:
    """The line ends of the files are not part of the keys."""
    (tmp_path / "key").write_text(API_KEY + "\n")
    (tmp_path / "secret").write_text(SECRET + "\n")
    files = ("--api-key-file", str(tmp_path / "key"), "--api-secret-file", str(tmp_path / "secret"))
    assert nija("add", "alice", "--broker", "kraken", *files).returncode == 0
    assert json.loads(nija("show", "alice", "--json").stdout)["key"]["api_key"] == "…1234"


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


def test_an_import_takes_all_rows_or_none(nija: Nija, alice: None, tmp_path: Path) -> None:
    """A faulty or taken row is reported by number and no row is imported. The corrected file is imported whole."""
    header = "follower_id,broker,api_key,api_secret\n"
    good = f"bob,kraken,key-of-bob,{SECRET}\n"
    file = tmp_path / "followers.csv"
    for bad, words in (
        (f"Carol,kraken,k3,{SECRET}\n", "lowercase"),
        (f"alice,kraken,k3,{SECRET}\n", "taken"),
        (f"carol,kraken,{MASTER_KEY},{SECRET}\n", "master's own key"),
    ):
        file.write_text(header + good + bad)
        done = nija("import", str(file))
        assert done.returncode == 2
        assert "row 2" in done.stderr
        assert words in done.stderr
        assert set(listed(nija)) == {"alice"}
    file.write_text(header + good)
    assert json.loads(nija("import", str(file), "--json").stdout) == {"imported": 1, "brokers": {"kraken": 1}}
    assert set(listed(nija)) == {"alice", "bob"}


def test_json_lines_come_from_standard_input(nija: Nija) -> None:
    """The file name `-` with a format reads the rows from a pipe."""
    row = {"follower_id": "bob", "broker": "kraken", "api_key": "key-of-bob", "api_secret": SECRET}
    done = nija("import", "-", "--format", "jsonl", given=json.dumps(row))
    assert done.returncode == 0, done.stderr
    assert set(listed(nija)) == {"bob"}


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


def test_a_replaced_key_is_used_from_then_on(nija: Nija, alice: None) -> None:
    """The follower stays the same, and its key is replaced."""
    done = nija(
        "replace-key", "alice", NIJA_FOLLOWER_API_KEY="the-new-key-of-alice-5678", NIJA_FOLLOWER_API_SECRET=SECRET
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(nija("show", "alice", "--json").stdout)["key"]["api_key"] == "…5678"


def test_replacing_a_key_by_itself_is_said_and_changes_nothing(nija: Nija, alice: None, tmp_path: Path) -> None:
    """The text says that the key is in use already.

    An operator who believes that a leaked key was replaced would leave it in use.
    """
    before = json.loads(nija("show", "alice", "--json").stdout)
    done = nija("replace-key", "alice", NIJA_FOLLOWER_API_KEY=f' "{API_KEY}"\r\n', NIJA_FOLLOWER_API_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
    assert "has this key already" in done.stdout
    assert json.loads(nija("show", "alice", "--json").stdout) == before
    other_secret = {"NIJA_FOLLOWER_API_KEY": API_KEY, "NIJA_FOLLOWER_API_SECRET": SECRET[:-4] + "Zg=="}
    assert "has another key" in nija("replace-key", "alice", **other_secret).stdout


@pytest.mark.parametrize("way", ["variables", "files", "csv", "jsonl"])
def test_what_stands_around_a_key_is_stored_by_no_way_in(nija: Nija, tmp_path: Path, way: str) -> None:
    """Quotes, blanks, a byte order mark and line ends are removed, so that only the key itself is stored."""
    key, secret = f'\ufeff "{API_KEY}" \u200b', f"'{SECRET}'\t"
    if way == "variables":
        done = nija("add", "bob", "-b", "kraken", NIJA_FOLLOWER_API_KEY=key, NIJA_FOLLOWER_API_SECRET=secret)
    elif way == "files":
        (tmp_path / "key").write_text(key + "\r\n", encoding="utf-16")
        (tmp_path / "secret").write_text(secret + "\n")
        files = ("--api-key-file", str(tmp_path / "key"), "--api-secret-file", str(tmp_path / "secret"))
        done = nija("add", "bob", "-b", "kraken", *files)
    elif way == "csv":
        text = f"Follower ID;Broker;API Key;API Secret\r\nbob;Kraken;\u00a0{API_KEY};{SECRET} \r\n"
        (tmp_path / "file.csv").write_text(text, encoding="utf-16")
        done = nija("import", str(tmp_path / "file.csv"))
    else:
        row = {"follower_id": "bob", "broker": "kraken", "api_key": key, "api_secret": secret}
        done = nija("import", "-", "--format", "jsonl", given="\ufeff" + json.dumps(row))
    assert done.returncode == 0, done.stderr
    bare = {"NIJA_FOLLOWER_API_KEY": API_KEY, "NIJA_FOLLOWER_API_SECRET": SECRET}
    assert "has this key already" in nija("replace-key", "bob", **bare).stdout


@pytest.mark.parametrize(
    ("variables", "words", "named"),
    [
        ({"NIJA_FOLLOWER_PASSPHRASE": " word"}, "the passphrase has blanks", "NIJA_FOLLOWER_PASSPHRASE"),
        ({"NIJA_FOLLOWER_PASSPHRASE": "'word'"}, "the passphrase has quotes", "NIJA_FOLLOWER_PASSPHRASE"),
        ({"NIJA_FOLLOWER_API_KEY": "OKX_API_KEY=abc"}, "the API key begins with a name", "NIJA_FOLLOWER_API_KEY"),
        ({"NIJA_FOLLOWER_API_SECRET": "abc # old"}, "the API secret contains blanks", "NIJA_FOLLOWER_API_SECRET"),
        ({"NIJA_FOLLOWER_API_SECRET": "key-of-bob"}, "the API secret is the same as", "NIJA_FOLLOWER_API_SECRET"),
    ],
)
def test_a_malformed_part_is_named_by_where_it_came_from(
    nija: Nija, variables: dict[str, str], words: str, named: str
) -> None:
    """The text names the variable or option and never the value."""
    key = {"NIJA_FOLLOWER_API_KEY": "key-of-bob", "NIJA_FOLLOWER_API_SECRET": "abc", "NIJA_FOLLOWER_PASSPHRASE": "word"}
    done = nija("add", "bob", "-b", "okx", **(key | variables))
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.endswith(f" ({named})\n")
    assert done.stderr.count("\n") == 1


def test_a_key_file_that_is_none_is_named_by_its_option(nija: Nija, tmp_path: Path) -> None:
    """A folder, an empty file, a large file, a binary file and a broker's JSON document are refused as key files."""
    secret = {"NIJA_FOLLOWER_API_SECRET": SECRET}
    for content, words in (
        (None, "cannot be read: Is a directory"),
        (b"\xef\xbb\xbf\r\n", "should hold one key"),
        (b"k" * 20_000, "should hold one key"),
        (b"\x00\x01\x02k", "is not a text file"),
        (b'{"name": "k", "privateKey": ""}', "is a JSON document"),
    ):
        file = tmp_path
        if content is not None:
            file = tmp_path / "key"
            file.write_bytes(content)
        done = nija("add", "bob", "-b", "kraken", "--api-key-file", str(file), **secret)
        assert done.returncode == 2
        assert "--api-key-file" in done.stderr
        assert words in done.stderr


def test_an_import_file_that_is_none_is_the_files_fault(nija: Nija, tmp_path: Path) -> None:
    """A folder, a spreadsheet, an endless file and a file without a header are each refused in one line of text."""
    header = "follower_id,broker,api_key,api_secret"
    for content, words in (
        (None, "cannot be read: Is a directory"),
        (b"PK\x03\x04\x00\x00\x08\x00", "is not a text file: save it as CSV"),
        (b"", "the file is empty"),
        (header.encode(), "the file has no rows"),
        (f"bob,kraken,key-of-bob,{SECRET}\n".encode(), "the first line must name the columns"),
    ):
        file = tmp_path
        if content is not None:
            file = tmp_path / "followers.csv"
            file.write_bytes(content)
        done = nija("import", str(file), "--format", "csv")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr
    endless = nija("import", "/dev/zero", "--format", "csv")
    assert endless.returncode == 2
    assert "more than 64 MB" in endless.stderr


def test_an_import_in_an_older_encoding_is_read_or_refused_by_column(nija: Nija, tmp_path: Path) -> None:
    """A Latin-1 file with ASCII characters only is imported. Any other letter is reported by row and column."""
    file = tmp_path / "followers.csv"
    for name, code, words in (("b\u00f6b", 2, "row 1: the follower_id is not valid"), ("bob", 0, "")):
        text = f"follower_id,broker,api_key,api_secret\n{name},kraken,key-of-bob,{SECRET}\n"
        file.write_bytes(text.encode("latin-1"))
        done = nija("import", str(file))
        assert done.returncode == code, done.stderr
        assert words in done.stderr
