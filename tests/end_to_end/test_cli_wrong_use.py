"""Wrong use leads to exit code 2 and to one text that names the mistake and what would be right."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.candle_file import minutes_file

Nija = Callable[..., Any]
SECRET = "c2VjcmV0LW9mLWEtdGVzdA=="
KEYS = {"NIJA_FOLLOWER_API_KEY": "key-of-a-test", "NIJA_FOLLOWER_API_SECRET": SECRET}
HEADER = "timestamp_utc,open,high,low,close,quote_volume"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fills", "--broker", "krakn"], ["--broker: unknown broker 'krakn'", "kraken, okx"]),
        (["orders", "-b", ""], ["--broker: unknown broker ''"]),
        (
            ["orders", "--state", "done"],
            ["--state: unknown state 'done'", "queued, skipped, unknown, accepted, filled"],
        ),
        (["orders", "--unknown", "--state", "filled"], ["--unknown and --state filled contradict"]),
        (["orders", "-f", "paper_on"], ["no follower 'paper_on'", "did you mean paper_one"]),
        (["positions", "-f", "zzz", "-b", "okx"], ["no follower 'zzz' at okx", "nija followers list"]),
        (["positions", "-f", "No Body"], ["follower id 'No Body' is not valid", "lowercase"]),
        (["fills", "--limit", "0"], ["--limit", "greater than or equal to"]),
        (["followers", "pause", "nobody"], ["no follower 'nobody'"]),
        (["bench", "fanout", "--rounds", "0"], ["--rounds"]),
        (["no-such-command"], ["No such command 'no-such-command'"]),
    ],
)
def test_wrong_words_are_named(running: Any, nija: Nija, arguments: list[str], said: list[str]) -> None:
    """The text names the option, the given value and the right values. Standard output stays empty."""
    done = nija(*arguments, folder=running.folder)
    assert (done.returncode, done.stdout) == (2, "")
    for words in said:
        assert words in " ".join(done.stderr.split())


def test_a_taken_follower_id_is_refused(running: Any, nija: Nija) -> None:
    """A follower id from the environment cannot be added to the database, and nothing changes."""
    before = nija("followers", "list", "--json", folder=running.folder).json()
    done = nija("followers", "add", "paper_one", "-b", "kraken", folder=running.folder, **KEYS)
    assert done.returncode == 2
    assert "paper_one" in done.stderr
    assert nija("followers", "list", "--json", folder=running.folder).json() == before


def test_a_malformed_key_is_refused_and_not_repeated(running: Any, nija: Nija) -> None:
    """The text describes a valid secret of that broker and does not repeat the given one."""
    malformed = KEYS | {"NIJA_FOLLOWER_API_SECRET": "!not-base64!"}
    done = nija("followers", "add", "new_one", "-b", "kraken", folder=running.folder, **malformed)
    assert done.returncode == 2
    assert "malformed key: the API secret of Kraken is base64 text" in done.stderr
    assert "not-base64" not in done.stderr


def test_a_bad_import_row_is_named_and_no_row_is_imported(running: Any, nija: Nija, tmp_path: Path) -> None:
    """Faulty rows are reported by number, and the good rows of the file are not imported either."""
    file = tmp_path / "followers.csv"
    rows = [f"good_one,kraken,key-1,{SECRET}", f"bad id,kraken,key-2,{SECRET}", f"far,krakn,key-3,{SECRET}"]
    file.write_text("\n".join(["follower_id,broker,api_key,api_secret", *rows, f"good_two,kraken,key-4,{SECRET}"]))
    done = nija("followers", "import", str(file), folder=running.folder)
    assert done.returncode == 2
    assert "nothing was imported" in done.stderr
    assert "row 2: " in done.stderr
    assert "row 3: " in done.stderr
    assert "row 1: " not in done.stderr
    listed = nija("followers", "list", "--json", folder=running.folder).json()
    assert [each["follower_id"] for each in listed] == ["paper_one", "paper_three", "paper_two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,price\n2022-01-01T00:00:00Z,1\n", ["columns 'time,price'", HEADER]),
        (
            f"{HEADER}\n2022-01-01T00:00:00Z,2,3,1,2,9\n2022-01-01T00:03:00Z,2,3,1,2,9\n",
            ["row 3", "2 minutes from 2022-01-01T00:01:00Z to 2022-01-01T00:02:00Z are missing"],
        ),
        (f"{HEADER}\n2022-01-01T00:00:00Z,2,3,1,abc,9\n", ["row 2", "close is 'abc', which is not a number"]),
    ],
)
@pytest.mark.parametrize("command", [["demo"], ["demo", "--strategy"], ["up", "--paper"]])
def test_a_faulty_candle_file_is_told_before_anything_starts(
    nija: Nija, tmp_path: Path, command: list[str], text: str, said: list[str]
) -> None:
    """The text names the file, the row and the mistake. No server was started."""
    file = tmp_path / "candles.csv"
    file.write_text(text)
    done = nija(*command, "--candles", str(file))
    assert done.returncode == 2
    for words in [str(file), *said]:
        assert words in done.stderr
    assert not (tmp_path / ".nija").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--strategy needs --candles FILE: a CSV file of one-minute candles"),
        (("--candles", "file", "--stay"), "leave out --fills and --stay"),
        (("--candles", "file", "--fills", "3"), "leave out --fills and --stay"),
        (("--candles", "file", "--hours", "1000"), "--hours"),
        (("--candles", "file", "--from", "noon"), "--from is 'noon'; it should be a day or a time"),
        (("--candles", "file", "--from", "2024-01-02"), "--from 2024-01-02T00:00 is too early: the file begins at"),
        (("--candles", "file"), "48 hours from 2024-01-04T00:00 end later; choose an earlier --from, fewer --hours"),
    ],
)
def test_what_the_strategy_cannot_trade_is_named_before_anything_starts(
    nija: Nija, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """Exit code 2, and no server was started. The file has a day and a few hours."""
    file = str(minutes_file(tmp_path))
    done = nija("demo", "--strategy", *(file if option == "file" else option for option in options))
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / ".nija").exists()


def test_the_time_of_candles_belongs_to_the_strategy(nija: Nija) -> None:
    """A person trades at any price, so --from and --hours would do nothing."""
    done = nija("demo", "--hours", "3")
    assert (done.returncode, "add --strategy, or leave them out" in done.stderr) == (2, True)


def test_a_second_up_says_who_runs(running: Any, nija: Nija) -> None:
    """The text names the process id of the first nija, which continues to run."""
    done = nija("up", "--paper", folder=running.folder)
    assert done.returncode == 2
    assert f"already runs on {running.folder / '.nija'}: process {running.pid}" in done.stderr
    assert nija("status", folder=running.folder).returncode == 0


@pytest.mark.parametrize("command", [["up", "--paper"], ["demo", "--followers", "1", "--fills", "1"]])
def test_a_data_folder_that_cannot_be_written_is_named(nija: Nija, tmp_path: Path, command: list[str]) -> None:
    """A file has the name of the folder. The text names it and says to set NIJA_HOME."""
    home = tmp_path / "taken"
    home.write_text("a file")
    done = nija(*command, NIJA_HOME=str(home))
    assert done.returncode == 2
    assert str(home) in done.stderr
    assert "set NIJA_HOME to another" in done.stderr


def test_a_port_in_use_is_named(nija: Nija) -> None:
    """The text names the port and the setting that chooses it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = nija("up", "--paper", NIJA_EMBEDDED_REDIS_PORT=str(port))
    assert done.returncode == 2
    assert f"port {port} is in use: set NIJA_EMBEDDED_REDIS_PORT to a free one" in done.stderr


def test_a_server_that_is_away_is_a_finding_and_no_traceback(nija: Nija) -> None:
    """If PostgreSQL is not reachable, the exit code is 1 and the text is one line without the password."""
    done = nija("fills", DATABASE_URL="postgresql://u:secret-word@127.0.0.1:1/nija")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nija: DATABASE_URL: no PostgreSQL listens at 127.0.0.1:1\n"


@pytest.mark.parametrize("command", [("orders",), ("brokers",), ("check", "brokers"), ("check", "keys")])
def test_reading_without_any_nija_says_what_to_do(nija: Nija, command: tuple[str, ...]) -> None:
    """Without a run and without DATABASE_URL the exit code is 1, not 2.

    The text says to start a run or to set the variable. A monitor must not mistake this for wrong use.
    """
    done = nija(*command)
    assert done.returncode == 1
    assert "start `nija up`, or set REDIS_URL and DATABASE_URL" in done.stderr


@pytest.mark.parametrize("command", [("migrate",), ("followers", "register")])
def test_preparing_without_a_database_is_a_wrong_setting(nija: Nija, command: tuple[str, ...]) -> None:
    """These commands prepare servers that the settings name. The exit code is 2, and the line names DATABASE_URL."""
    done = nija(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nija: DATABASE_URL is missing, and no nija runs on ")


def test_version_and_help_need_no_settings(nija: Nija) -> None:
    """Both exit with code 0, and the help names every command."""
    version = nija("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "nija")
    shown = nija("--help")
    assert shown.returncode == 0
    for command in ("demo", "up", "status", "fills", "orders", "positions", "followers", "bench", "migrate"):
        assert f" {command} " in shown.stdout


def test_the_help_names_the_variables_of_followers_in_full(nija: Nija) -> None:
    """The help does not turn the underscores in their names into emphasis."""
    shown = nija("followers", "register", "--help").stdout
    assert "{BROKER}_USER_{NAME}_API_KEY" in shown
    assert "}USER{" not in shown


def test_candles_are_for_paper_only(nija: Nija) -> None:
    """Prices from a file contradict real accounts, so `--candles` without `--paper` is refused."""
    done = nija("up", "--candles", "candles.csv")
    assert done.returncode == 2
    assert "--candles: real accounts have prices of their own; it goes with --paper" in done.stderr
