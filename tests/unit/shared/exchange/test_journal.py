"""Tests what a commit to the journal keeps, what a cut line loses, and which files are refused."""

from pathlib import Path

import pytest

from shared.exchange.journal import Journal, JournalUnusable


def _opened(path: Path) -> tuple[Journal, list[object]]:
    journal = Journal(path)
    return journal, list(journal.open())


def test_committed_events_are_read_again_in_order(tmp_path: Path) -> None:
    """Events that were not committed are gone."""
    journal, events = _opened(tmp_path / "state")
    assert events == []
    journal.record(["a", 1])
    journal.record(["b", "x"])
    journal.commit()
    journal.record(["lost"])
    journal.close()
    journal, events = _opened(tmp_path / "state")
    assert events == [["a", 1], ["b", "x"]]
    journal.close()


def test_a_torn_last_line_is_dropped_whole_and_writing_goes_on(tmp_path: Path) -> None:
    """The journal holds all events of a commit or none."""
    path = tmp_path / "state"
    path.write_bytes(b'[["a",1]]\n[["b",2],["c"')
    journal, events = _opened(path)
    assert events == [["a", 1]]
    journal.record(["d", 4])
    journal.commit()
    journal.close()
    assert path.read_bytes() == b'[["a",1]]\n[["d",4]]\n'


def test_replaying_writes_nothing_again(tmp_path: Path) -> None:
    """Events that are recorded during the replay are not written a second time."""
    path = tmp_path / "state"
    path.write_bytes(b'[["a",1]]\n')
    journal = Journal(path)
    for event in journal.open():
        journal.record(event)
    journal.commit()
    journal.close()
    assert path.read_bytes() == b'[["a",1]]\n'


@pytest.mark.parametrize("content", [b"hello\nworld\n", b'{"a": 1}\n', b'[["a"]]\nbroken\n[["b"]]\n'])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """A wrong path must not destroy an unrelated file."""
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(JournalUnusable, match="line"):
        _opened(path)
    assert path.read_bytes() == content


def test_two_exchanges_cannot_share_a_journal(tmp_path: Path) -> None:
    """The second exchange reports that the file is in use."""
    first, _ = _opened(tmp_path / "state")
    with pytest.raises(JournalUnusable, match="another paper broker"):
        _opened(tmp_path / "state")
    first.close()


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The message names the option and the reason."""
    with pytest.raises(JournalUnusable, match=r"--state .*cannot be opened"):
        _opened(tmp_path / "no" / "state")


def test_the_journal_is_private(tmp_path: Path) -> None:
    """The file contains keys, so only its owner may read it."""
    journal, _ = _opened(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    journal.close()
