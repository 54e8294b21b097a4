"""Tests in Dockerfile and docker-compose.yml the image's version, its one builder, and how long logs are kept."""

import re
import textwrap
import tomllib
from pathlib import Path

import yaml

from shared.domain.identity import Broker
from tests.end_to_end.compose import read_services

TOP = Path(__file__).resolve().parents[2]
SERVICES = read_services()
KEPT_MEGABYTES = 500
"""Seven days of 80,000 fills of a broker each, by docs/deployment.md."""


def test_the_image_says_the_version_of_the_project() -> None:
    """Without a build argument the image's labels name the version of pyproject.toml."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"^ARG VERSION=(.*)$", (TOP / "Dockerfile").read_text(), re.MULTILINE)
    assert versions == [project["version"]]


def test_one_service_of_each_set_builds_the_image() -> None:
    """Whichever profiles run, Compose builds the image once and looks for it in no registry."""
    for profile in ("paper", *(broker.value for broker in Broker)):
        mine = {
            name: each for name, each in SERVICES.items() if profile in each["profiles"] and each["image"] == "nija"
        }
        assert [name for name, each in mine.items() if "build" in each] == [
            "paper-migrate" if profile == "paper" else "migrate"
        ]
        assert {each["pull_policy"] for each in mine.values()} == {"never"}


def test_every_log_is_rotated_and_kept_long_enough() -> None:
    """No container fills the disk with its log, and none loses it before a week is over."""
    for name, service in SERVICES.items():
        options = service["logging"]["options"]
        assert service["logging"]["driver"] == "local", name
        assert int(options["max-size"].removesuffix("m")) * int(options["max-file"]) >= KEPT_MEGABYTES, name


def test_the_example_of_own_servers_reaches_every_live_service() -> None:
    """Each service that is given the URLs gets both from the page, and has a network that leads out."""
    section = (TOP / "docs/deployment.md").read_text().partition("\n### Your own servers\n")[2].partition("\n### ")[0]
    block = "\n".join(line for line in section.splitlines() if line.startswith("    ") or not line)
    example = yaml.safe_load(textwrap.dedent(block))["services"]
    given = {
        name
        for name, service in SERVICES.items()
        if "paper" not in service["profiles"] and "DATABASE_URL" in service.get("environment", {})
    }
    assert set(example) == given
    for name, override in example.items():
        assert set(override["environment"]) == {"REDIS_URL", "DATABASE_URL"}, name
        assert "outside" in {*SERVICES[name]["networks"], *override.get("networks", ())}, name


def test_the_first_step_refuses_the_urls_that_the_file_sets_itself() -> None:
    """In `.env` they would have no effect."""
    command = SERVICES["settings"]["command"]
    refused = {command[place + 1] for place, word in enumerate(command) if word == "--overridden"}
    assert refused == {name for name in SERVICES["bookkeeper"]["environment"] if name.endswith("_URL")}


def test_live_services_serve_the_brokers_of_the_profiles() -> None:
    """A broker that runs is served by the engine and the bookkeeper, and no other is, whatever keys `.env` has."""
    for name, service in read_services({"COMPOSE_PROFILES": "kraken,okx"}).items():
        if "paper" not in service["profiles"] and "DATABASE_URL" in service.get("environment", {}):
            assert service["environment"]["NIJA_BROKERS"] == "kraken,okx", name
    assert "COMPOSE_PROFILES" in SERVICES["settings"]["command"]


def test_the_page_shows_no_option_that_the_next_start_would_undo() -> None:
    """`docker compose up` without the same option removes the added workers, or starts without the live brokers."""
    page = (TOP / "docs/deployment.md").read_text()
    commands = re.findall(r"^    docker compose (.*)$", page, re.MULTILINE)
    assert commands
    assert not [each for each in commands if "--scale" in each or re.search(r"--profile (?!paper)", each)]
    scaled = re.findall(r"^      ([\w-]+): \{scale: \d+\}$", page, re.MULTILINE)
    assert scaled
    assert set(scaled) <= set(SERVICES)
