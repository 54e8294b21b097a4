"""`nija followers import` takes all rows of a file or none, and names what is wrong with the file."""

import json
from pathlib import Path

from tests.integration.cli.followers.command import MASTER_KEY, SECRET, Nija, listed


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
