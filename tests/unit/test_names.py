"""Tests that no two public classes of the product have the same name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]


def public_classes() -> Iterator[tuple[str, str]]:
    """The name and the file of every class of a module; classes inside functions and classes are not imported."""
    for folder in ("services", "shared"):
        for path in sorted((TOP / folder).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, str(path.relative_to(TOP))


def test_no_two_public_classes_have_the_same_name() -> None:
    """A reader who searches for a class finds one."""
    places = defaultdict(list)
    for name, path in public_classes():
        places[name].append(path)
    assert len(places) > 300, "the walk would miss most classes"
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
