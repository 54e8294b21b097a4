"""`nija followers` takes keys from variables and files, and names the part that is malformed."""

import json
from pathlib import Path

import pytest

from tests.integration.cli.followers.command import API_KEY, SECRET, Nija


def test_keys_come_from_files_too(nija: Nija, tmp_path: Path) -> None:
    """The line ends of the files are not part of the keys."""
    (tmp_path / "key").write_text(API_KEY + "\n")
    (tmp_path / "secret").write_text(SECRET + "\n")
    files = ("--api-key-file", str(tmp_path / "key"), "--api-secret-file", str(tmp_path / "secret"))
    assert nija("add", "alice", "--broker", "kraken", *files).returncode == 0
    assert json.loads(nija("show", "alice", "--json").stdout)["key"]["api_key"] == "…1234"


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
