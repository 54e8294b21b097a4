"""Prints how often the prose breaks its rules, per 10,000 words, or where.

python -m tests.prose                 the figures
python -m tests.prose FILE …          the places in these files or folders, with what to write instead
python -m tests.prose --not-clean     the files that break a rule; goes into tests/prose_todo.txt after files were moved
"""

import sys
from collections.abc import Iterable

from tests.prose.rules import RULES, count, findings, is_long, sentences, words
from tests.prose.texts import Kind, Passage, files, passages


def main(arguments: list[str]) -> int:
    """Print what was asked for; 1 when a named file breaks a rule."""
    if arguments == ["--not-clean"]:
        print(*(path for path in files() if findings(path)), sep="\n")
        return 0
    if arguments:
        return _print_places(arguments)
    _print_figures([passage for path in files() for passage in passages(path)])
    return 0


def _print_places(arguments: list[str]) -> int:
    wanted = [name.rstrip("/").removeprefix("./") for name in arguments]
    found = [
        finding
        for path in files()
        if any(path == name or path.startswith(f"{name}/") for name in wanted)
        for finding in findings(path)
    ]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


def _print_figures(everything: list[Passage]) -> None:
    columns = {
        "product": [passage for passage in everything if passage.path.startswith(("services/", "shared/"))],
        "tests": [passage for passage in everything if passage.path.startswith("tests/")],
        "docs": [passage for passage in everything if passage.kind is Kind.DOCS],
        "all": everything,
    }
    columns = {name: [p for p in column if p.kind is not Kind.MESSAGE] for name, column in columns.items()}
    columns["messages"] = [passage for passage in everything if passage.kind is Kind.MESSAGE]
    print(f"{'per 10,000 words':<28}" + "".join(f"{name:>10}" for name in columns))
    for rule in RULES:
        _print_row(
            rule.name, (_per_ten_thousand(column, sum(count(p, rule) for p in column)) for column in columns.values())
        )
    _print_row("words", (f"{sum(map(words, column)):,}" for column in columns.values()))
    _print_row("sentences over 30 words", map(_share_of_long, columns.values()))
    not_clean = sum(bool(findings(path)) for path in files())
    print(f"\n{not_clean} of {len(files())} files break a rule; python -m tests.prose FILE … says where")


def _print_row(name: str, values: Iterable[str]) -> None:
    print(f"{name:<28}" + "".join(f"{value:>10}" for value in values))


def _per_ten_thousand(column: list[Passage], occurrences: int) -> str:
    return f"{10_000 * occurrences / max(1, sum(map(words, column))):.1f}"


def _share_of_long(column: list[Passage]) -> str:
    found = [sentence for passage in column for sentence in sentences(passage)]
    return f"{sum(map(is_long, found)) / max(1, len(found)):.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
