"""Tests in Dockerfile and docker-compose.yml the image's version, its one builder, and how long logs are kept."""

import re
import tomllib
from pathlib import Path

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
