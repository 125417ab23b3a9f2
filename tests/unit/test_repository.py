"""Rules, scripts, documentation and lock file name the same things."""

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = re.findall(
    r"^(?:rule|checkpoint) (\w+):",
    "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "workflow").rglob("*.smk"))),
    flags=re.MULTILINE,
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_there_are_rules():
    assert len(RULES) == len(set(RULES)) >= 16


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_its_script_its_row_and_its_place_in_the_picture(rule):
    script = (ROOT / "scripts" / f"{rule}.py").read_text(encoding="utf-8")
    call = re.search(r"from (\S+) import (\w+)\n\n    \2\(study, paths", script)
    assert call, f"scripts/{rule}.py does not make one call of the package"
    assert f"| `{rule}` | `" in ARCHITECTURE
    pictures = "".join(t.partition("```")[0] for t in README.split("```mermaid")[1:])
    assert re.search(rf"\b{rule}\b", pictures)


def test_links_and_commands_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for command in re.findall(r"\bmake (\w+)", README):
        assert command in targets


def test_the_lock_file_pins_every_dependency_for_any_platform():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    locked = {pin.split("==")[0] for pin in pins}
    needed = importlib.metadata.requires("eele") or []
    names = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower() for text in needed}
    assert names - locked == set(), "run `make lock`"


def test_the_stages_environment_is_the_locked_one():
    environment = yaml.safe_load((ROOT / "envs" / "eele.yaml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert set(pip) <= set(lines), "run `make lock`"
    assert any(pin.startswith("torch==") for pin in pip)


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == importlib.metadata.version("eele")
    assert citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("folder", ["config", "docs", "profiles", "scripts", "src", "workflow"])
def test_nothing_names_a_machine(folder):
    private = re.compile(r"(?<![\w.])/(root|home/(?!me\b)\w+|Users/\w+|mnt|work)/")
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in {".py", ".yaml", ".smk", ".md", ".tsv", ".sh"}:
            assert not private.search(path.read_text(encoding="utf-8")), path
