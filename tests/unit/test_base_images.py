"""Tests that `.ci/base-images` imports no Debian that is not complete. Stand-ins replace docker, mmdebstrap and apt-get."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "base-images"
NO_IMAGES = 'case "$1" in import) echo "$@: $(cat)" >>"$CALLS" ;; build) ;; *) exit 1 ;; esac'
"""There is no image and no registry. An import is recorded with its input."""
MIRROR = '[ "$1" != indextargets ] || echo "http://mirror Debian/Debian"'
WHOLE = 'echo "mmdebstrap for $*" >&2; printf whole'
CUT = "printf cut; exit 1"


def imports(folder: Path, *, mmdebstrap: str, apt_get: str = MIRROR) -> tuple[int, str]:
    """The exit code of the script, and the imports that it made."""
    programs = folder / "bin"
    programs.mkdir()
    for name, text in {"docker": NO_IMAGES, "mmdebstrap": mmdebstrap, "apt-get": apt_get}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    calls = folder / "calls"
    calls.touch()
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls), "TMPDIR": str(temporary)}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, timeout=30, check=False)
    assert not list(temporary.iterdir())
    return done.returncode, calls.read_text()


def test_a_complete_debian_is_imported(tmp_path: Path) -> None:
    """One for each release, with the whole archive."""
    code, made = imports(tmp_path, mmdebstrap=WHOLE)
    assert code == 0
    for release in ("bookworm", "trixie"):
        assert f"debian:{release}-slim: whole\n" in made


@pytest.mark.parametrize(
    ("mmdebstrap", "apt_get"), [(CUT, MIRROR), (WHOLE, "exit 0")], ids=["broke off", "without a mirror"]
)
def test_a_debian_that_could_not_be_made_is_not_imported(tmp_path: Path, mmdebstrap: str, apt_get: str) -> None:
    """The next run would take the image for a complete one."""
    code, made = imports(tmp_path, mmdebstrap=mmdebstrap, apt_get=apt_get)
    assert code != 0
    assert made == ""
