"""The documentation names only what exists: files, headings, paths and decisions."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
CURRENT_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
ADRS = sorted((TOP / "docs/adr").glob("0*.md"))
ADR_HEADINGS = ["Context", "Decision", "Alternatives considered", "Consequences", "Links"]

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PLACES = ("services/", "shared/", "tests/", "docs/", "k8s/", "benchmarks/", "migrations/", "monitoring/", ".ci/")
SOURCES = [str(path) for place in PLACES for path in (TOP / place).rglob("*") if path.suffix in {".py", ".lua"}]


def name_of(path: Path) -> str:
    """The path as it is written in the repository."""
    return str(path.relative_to(TOP))


def prose(page: Path) -> str:
    """The page without its fenced blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = (heading.replace("`", "").lower() for heading in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    """Relative links and their anchors; addresses of other servers are not requested."""
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=name_of)
def test_every_module_and_script_in_a_page_exists(page: Path) -> None:
    """Names such as `plan.py` and `broker_worker/drain.py`, anywhere in the sources."""
    named = [code for code in CODE.findall(prose(page)) if re.fullmatch(r"[\w/]+\.(?:py|lua)", code)]
    missing = [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in SOURCES)]
    assert not missing


def test_the_files_to_start_reading_at_are_in_the_folders_that_the_readme_names() -> None:
    """Each row of the map has a folder, and the files are named from this folder or from the top."""
    rows = [line.split("|")[1:-1] for line in (TOP / "README.md").read_text().splitlines() if line.startswith("|")]
    maps = [
        (place[1], CODE.findall(row[2])) for row in rows if len(row) == 3 and (place := re.match(r" `(.+/)` $", row[1]))
    ]
    assert len(maps) > 10
    missing = [
        f"{folder}{name}"
        for folder, names in maps
        for name in names
        if not ((TOP / folder / name).exists() or (TOP / name).exists())
    ]
    assert not missing


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=name_of)
def test_every_path_in_a_page_exists(page: Path) -> None:
    """Paths in backticks from the top of the repository; `<broker>` stands for any folder, `*` for any name."""
    named = [code for code in CODE.findall(prose(page)) if code.startswith(PLACES) and " " not in code]
    missing = [path for path in named if not any(TOP.glob(re.sub(r"<[^>]*>", "*", path).rstrip("/")))]
    assert not missing


def test_the_index_lists_every_decision_with_its_title_and_status() -> None:
    """A new page without a row, and a row that says something else than its page, fail."""
    rows = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \| (.*) \| (.*) \| (.*) \|$", (TOP / "docs/adr/README.md").read_text(), re.MULTILINE
    )
    expected = []
    for page in ADRS:
        text = page.read_text()
        title = re.match(r"# (\d+)\. (.+)\n", text)
        area, status = (re.search(rf"^- {field}: (.+)$", text, re.MULTILINE) for field in ("Area", "Status"))
        assert title, page.name
        assert area, page.name
        assert status, page.name
        expected.append((title[1], page.name, title[2], area[1], status[1]))
    assert rows == expected


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem[:4])
def test_a_decision_has_status_date_and_all_its_parts(page: Path) -> None:
    """Status, date and area at the top, then the same headings on every page, and its number in its name."""
    text = page.read_text()
    assert re.match(
        rf"# {int(page.name[:4])}\. .+\n\n- Status: (accepted|proposed|replaced by \[ADR \d+\]\(\S+\))\n"
        r"- Date: \d{4}-\d\d-\d\d\n- Area: .+\n",
        text,
    )
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ADR_HEADINGS
