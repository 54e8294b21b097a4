"""Modules and functions stay small enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PRODUCT = ("shared", "services", "benchmarks")
MOST_LINES_OF_A_MODULE = 350
MOST_LINES_OF_A_FUNCTION = 70


def too_long(source: Path) -> Iterator[str]:
    """What is too long in a file, each with its number of lines."""
    text = source.read_text()
    lines = len(text.splitlines())
    if lines > MOST_LINES_OF_A_MODULE:
        yield f"{source}: {lines} lines; split it by what its parts are for"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield f"{source}:{node.lineno}: {node.name} has {lines} lines; give its steps names"


def test_no_module_and_no_function_of_the_product_is_too_long() -> None:
    """At most 350 lines for a module and 70 for a function."""
    sources = [source for root in PRODUCT for source in sorted((TOP / root).rglob("*.py"))]
    assert len(sources) > 300, "the walk would miss most modules"
    assert [finding for source in sources for finding in too_long(source)] == []


def test_no_module_and_no_function_of_the_tests_is_too_long() -> None:
    """The same limits hold for tests and their helpers."""
    sources = sorted((TOP / "tests").rglob("*.py"))
    assert len(sources) > 250, "the walk would miss most modules"
    assert [finding for source in sources for finding in too_long(source)] == []


def test_a_long_module_and_a_long_function_are_found(tmp_path: Path) -> None:
    """The test above can fail: one line more is too many."""
    source = tmp_path / "long.py"
    source.write_text("def short():\n" + "    pass\n" * 69 + "\n" * 280)
    assert list(too_long(source)) == []
    source.write_text("def long():\n" + "    pass\n" * 70 + "\n" * 280)
    assert [finding.split(": ")[1] for finding in too_long(source)] == [
        "351 lines; split it by what its parts are for",
        "long has 71 lines; give its steps names",
    ]
