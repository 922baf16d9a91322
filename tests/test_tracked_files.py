"""Tracked files speak of the software alone: no paths of a machine, no dead links."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = "home|root|work|tmp|farm|Users"
MACHINE_PATH = re.compile(rf"(?<![\w./<~-])/(?:{FOLDERS})/")
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
SHARED = "../" + "shared"


def tracked(*patterns):
    """Return the text files that git tracks, or skip where there is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def lines(path):
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def test_no_tracked_file_names_a_path_of_a_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(lines(path), 1)
        if MACHINE_PATH.search(line)
        or (SHARED in line and path != ROOT / ".ci" / "run")
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS.split("|"))
def test_pattern_finds_a_path_of_a_machine(folder):
    assert MACHINE_PATH.search(f"run it in /{folder}/x")
    assert not MACHINE_PATH.search(f"see https://example.org/{folder}/x")


def test_links_between_documents_lead_somewhere():
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked("*.md")
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert dead == []
