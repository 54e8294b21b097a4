"""Lists the words and sentences that this project does not write, and says what to write instead."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.prose.texts import Kind, Passage, passages, without_code

LONG_SENTENCE_WORDS = 30
LONG_SENTENCES_SHARE = 0.05
_SHORTEST_SENTENCE_WORDS = 5
_WORD = re.compile(r"[\w’'-]*\w")


@dataclass(frozen=True)
class Rule:
    """One figure of the report: what is refused, and what a reader understands better."""

    name: str
    pattern: re.Pattern[str]
    write: str


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    found: str
    write: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: “{self.found}” – {self.write}"


def _rule(name: str, words: str, write: str, *, flags: re.RegexFlag = re.IGNORECASE) -> Rule:
    return Rule(name, re.compile(words.replace(" ", r"\s+"), flags), write)


_NOT_AFTER_A_NOUN = (
    r"(?:of|for|from|to|by|with|at|but|than|as|is|are|if|because|when|while|before|after|until|unless|let|lets)"
)

RULES = (
    _rule("tell, told", r"\b(?:tell|tells|telling|told)\b", "write report, return, show, say or see"),
    _rule(
        "nobody, somebody, …",
        r"\b(?:no|some|any|every)body\b|\bno one\b|\b(?:some|any|every)one\b(?! of)",
        "name the process, the component or the person",
    ),
    _rule(
        "bare “who”",
        rf"\b{_NOT_AFTER_A_NOUN} who\b|(?-i:(?:^|(?<=[.!:;])\s)\s*Who\b)(?![^.!?]*\?)|\bwhoever\b",
        "name the process: “a worker that …”, “an operator who …”",
    ),
    _rule(
        "for ever, anew, …",
        r"\b(?:for ever|afresh|anew|for good|all the same|beside)\b",
        "write permanently, again, nevertheless, next to, besides",
    ),
    _rule(
        "“look” as a noun",
        r"\b(?:(?:a|an|the|each|every|one|this|next|last|first|second|third|no|its|another) look(?![-\w]| up\b)"
        r"|(?:these|two|three|its) looks\b)",
        "write poll, reading, look-up or check",
    ),
    _rule(
        "“X in, Y out”",
        r"(?<!first\s)\bin[,;:][^.!?;:]*(?<!left\s)\bout(?=[.,;:]|$)|(?-i:\b(?:Enters|In|Out):)",
        "write a sentence with a verb that says what it does",
    ),
    _rule("fragments “Of …”", r"(?:^|(?<=[.!?:;])\s)\s*Of\b", "begin with the subject", flags=re.NOFLAG),
)


def count(passage: Passage, rule: Rule) -> int:
    """How often a passage breaks a rule."""
    return len(rule.pattern.findall(without_code(passage.text)))


def words(passage: Passage) -> int:
    """The words of a passage; code in backticks counts as one."""
    return len(_WORD.findall(without_code(passage.text)))


def sentences(passage: Passage) -> list[str]:
    """The sentences of a passage; what is shorter than five words is a heading or a name, and is left out."""
    text = re.sub(r"\b(e\.g|i\.e|etc|vs|No)\.(?=\s)", r"\1", without_code(passage.text))
    parts = re.split(r"(?<=[.!?])[”\"')*]*\s+(?=[^a-z\s])", text)
    return [part for part in parts if len(_WORD.findall(part)) >= _SHORTEST_SENTENCE_WORDS]


def is_long(sentence: str) -> bool:
    """Whether a reader has to hold more than thirty words in mind."""
    return len(_WORD.findall(sentence)) > LONG_SENTENCE_WORDS


def findings(path: str) -> list[Finding]:
    """Everything in a file that the rules refuse, by line."""
    found = passages(path)
    words_found = [finding for passage in found for rule in RULES for finding in _breaches(passage, rule)]
    return sorted([*words_found, *_long_sentences(found)], key=lambda finding: finding.line)


def _breaches(passage: Passage, rule: Rule) -> Iterator[Finding]:
    text = without_code(passage.text)
    for match in rule.pattern.finditer(text):
        line = passage.line + text.count("\n", 0, match.end())
        yield Finding(passage.path, line, " ".join(match[0].split()), rule.write)


def _long_sentences(found: list[Passage]) -> Iterator[Finding]:
    """In documentation only: one long sentence is excused, more may be a twentieth of all sentences."""
    docs = [(passage, sentence) for passage in found if passage.kind is Kind.DOCS for sentence in sentences(passage)]
    long = [(passage, sentence) for passage, sentence in docs if is_long(sentence)]
    if len(long) <= max(1, LONG_SENTENCES_SHARE * len(docs)):
        return
    for passage, sentence in long:
        beginning = " ".join(sentence.split()[:6])
        yield Finding(passage.path, passage.line, f"{beginning} …", f"split it: over {LONG_SENTENCE_WORDS} words")
