"""Finds the prose of the repository: docstrings, comments, documentation and operator messages, with their lines."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

_PYTHON = ("services", "shared", "benchmarks", "migrations", "tests")
_HASH_COMMENTS = (".ci", "k8s", "monitoring", "docker-compose.yml", "Dockerfile", "Makefile", ".env.example")
_DOCS = ("docs", "README.md", "CONTRIBUTING.md")
"""CHANGELOG.md is history and stays as it was written."""
_MESSAGES_IN = ("services", "shared")
_MESSAGE_WORDS = 3


class Kind(StrEnum):
    """What a passage is, and therefore which rules hold for it."""

    DOCS = "docs"
    DOCSTRING = "docstring"
    COMMENT = "comment"
    MESSAGE = "message"


@dataclass(frozen=True)
class Passage:
    """One paragraph, list item, table cell, docstring, block of comments or message; `line` is its first line."""

    path: str
    line: int
    kind: Kind
    text: str


def files() -> list[str]:
    """All files that hold prose, sorted, relative to the top of the repository."""
    found = {"pyproject.toml"}
    for roots, wanted in ((_PYTHON, "*.py"), (_PYTHON, "*.lua"), (_HASH_COMMENTS, "*"), (_DOCS, "*.md")):
        for root in roots:
            place = TOP / root
            paths = place.rglob(wanted) if place.is_dir() else [place]
            found |= {
                str(path.relative_to(TOP)) for path in paths if path.is_file() and "__pycache__" not in path.parts
            }
    return sorted(found)


@cache
def passages(path: str) -> list[Passage]:
    """The prose of one file."""
    text = (TOP / path).read_text()
    if path.endswith(".md"):
        return list(_markdown(path, text))
    if path.endswith(".py"):
        return [*_strings(path, text), *_python_comments(path, text)]
    return list(_comments(path, text, "--" if path.endswith(".lua") else "#"))


@cache
def without_code(text: str) -> str:
    """The text with code in backticks and the addresses of links blanked; lines and lengths stay as they are."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "_", match[0])

    text = re.sub(r"``[^`]+``|`[^`]*`", blank, text)
    return re.sub(r"(?<=\])\([^)\s]*\)", lambda match: " " * len(match[0]), text)


def _strings(path: str, source: str) -> Iterator[Passage]:
    """Docstrings, wherever a string stands as a statement, and messages, which are strings of some words."""
    nodes = list(ast.walk(ast.parse(source)))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            parts.add(id(node.value))
            yield Passage(path, node.lineno, Kind.DOCSTRING, node.value.value)
    if path.partition("/")[0] not in _MESSAGES_IN:
        return
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            message = "".join(part.value if isinstance(part, ast.Constant) else "_" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            message = node.value
        else:
            continue
        if len(message.split()) >= _MESSAGE_WORDS:
            yield Passage(path, node.lineno, Kind.MESSAGE, message)


def _python_comments(path: str, source: str) -> Iterator[Passage]:
    lines: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = re.split(r"\s*#\s*(?:noqa|type: ignore)", token.string)[0]
            lines.append((token.start[0], text.lstrip("#!").strip()))
    yield from _blocks(path, lines)


def _comments(path: str, source: str, mark: str) -> Iterator[Passage]:
    """Comments of languages where they run from a mark to the end of the line."""
    pattern = re.compile(rf"(?:^|\s){mark}(?![!{{])\s?(.*)$")
    found = ((number, pattern.search(line)) for number, line in enumerate(source.splitlines(), 1))
    yield from _blocks(path, [(number, match[1].strip("# ")) for number, match in found if match])


def _blocks(path: str, lines: list[tuple[int, str]]) -> Iterator[Passage]:
    """Comments of consecutive lines are one passage; an empty comment line ends it."""
    block: list[str] = []
    first = 0
    for number, text in lines:
        if block and (number != first + len(block) or not text):
            yield Passage(path, first, Kind.COMMENT, "\n".join(block))
            block = []
        if text:
            first = first if block else number
            block.append(text)
    if block:
        yield Passage(path, first, Kind.COMMENT, "\n".join(block))


def _markdown(path: str, source: str) -> Iterator[Passage]:
    """Paragraphs, list items, table cells and headings; blocks of code are left out."""
    block: list[str] = []
    first = 0
    fenced = in_list = False
    for number, line in enumerate([*source.splitlines(), ""], 1):
        bare = line.strip()
        fence = bare.startswith("```")
        code = fenced or fence or (line.startswith("    ") and not in_list and not block)
        item = re.match(r"[-*]\s|\d+\.\s", bare)
        table = bare.startswith("|")
        if block and (code or item or table or not bare or bare.startswith("#")):
            yield Passage(path, first, Kind.DOCS, "\n".join(block))
            block = []
        fenced = fenced != fence
        if code or not bare:
            continue
        in_list = bool(item) or (in_list and line.startswith("  "))
        if table:
            yield from (Passage(path, number, Kind.DOCS, cell) for cell in _cells(bare))
        elif bare.startswith("#"):
            yield Passage(path, number, Kind.DOCS, bare.lstrip("# "))
        else:
            first = first if block else number
            block.append(bare[item.end() :] if item else bare)


def _cells(row: str) -> list[str]:
    cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|")))
    return [cell for cell in cells if cell.strip("-: ")]
