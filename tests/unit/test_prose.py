"""The prose of the repository keeps its rules, and the list of files that do not yet keep them only gets shorter."""

import pytest

from tests.prose.rules import RULES, count, findings, is_long, sentences
from tests.prose.texts import TOP, Kind, Passage, files, passages

TODO_FILE = "tests/prose_todo.txt"
TODO = (TOP / TODO_FILE).read_text().split()
ADVICE = f"python -m tests.prose FILE says where; {TODO_FILE} lists the files that are not done yet"


def passage(text: str) -> Passage:
    """A passage of a documentation page."""
    return Passage("docs/example.md", 1, Kind.DOCS, text)


def test_prose_is_plain_in_every_file_that_is_not_waiting() -> None:
    """A docstring, comment, page or message that breaks a rule fails here, with what to write instead."""
    found = [str(finding) for path in files() if path not in TODO for finding in findings(path)]
    assert not found, "\n".join([*found, ADVICE])


def test_a_file_leaves_the_list_when_it_is_clean() -> None:
    """The list is sorted, names files that exist, and none that keeps the rules already."""
    assert sorted(set(TODO)) == TODO
    assert not set(TODO) - set(files())
    assert not [path for path in TODO if not findings(path)], f"clean now: delete these lines from {TODO_FILE}"


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ("tell, told", "The broker tells\nit. It was told.", 2),
        ("tell, told", "`tell()` is code, a retold story is not told of.", 1),
        ("nobody, somebody, …", "Nobody polls, and no one waits for anybody.", 3),
        ("nobody, somebody, …", "any one of them, each body", 0),
        ("bare “who”", "Who is early must wait. It is for who is late.", 2),
        ("bare “who”", "Who writes the key? An operator who adds a follower, who pays.", 0),
        ("for ever, anew, …", "It waits for\never, beside the other, all the same.", 3),
        ("for ever, anew, …", "It does good; besides, all the same keys are read anywhere.", 1),
        ("“look” as a noun", "One look returns them, the next look too.", 2),
        ("“look” as a noun", "The look-up is over; workers look again.", 0),
        ("“X in, Y out”", "Orders: form fields in, a reply out. Enters: an order. A key in; asterisks out", 3),
        ("“X in, Y out”", "First in, first out. Coins come in, and those without a price are left out.", 0),
        ("fragments “Of …”", "Of a replayed order nothing is recorded. Of that, too.", 2),
        ("fragments “Of …”", "The number Of orders of it.", 0),
    ],
)
def test_each_rule_finds_its_words_and_only_them(rule: str, text: str, expected: int) -> None:
    """Words in code do not count, and neither does a word in its ordinary use."""
    (found,) = [each for each in RULES if each.name == rule]
    assert count(passage(text), found) == expected


def test_a_sentence_of_thirty_words_is_not_long_and_one_of_thirty_one_is() -> None:
    """The limit of the report."""
    thirty = f"It {'word ' * 28}ends."
    assert [is_long(each) for each in sentences(passage(f"{thirty} Again {thirty}"))] == [False, True]


def test_every_kind_of_text_is_read() -> None:
    """Docstrings, comments of each language, pages and messages; a file type that is no longer read would show here."""
    found = {(path.rpartition(".")[2], each.kind) for path in files() for each in passages(path)}
    expected = {("py", Kind.DOCSTRING), ("py", Kind.COMMENT), ("py", Kind.MESSAGE), ("md", Kind.DOCS)}
    expected |= {(ending, Kind.COMMENT) for ending in ("lua", "yml", "yaml", "toml", "Dockerfile", "Makefile")}
    assert found >= expected
