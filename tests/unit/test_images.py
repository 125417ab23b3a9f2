"""The recipes of the images: what they copy is there, they install from the lock file, they hold no secret."""

import re
import subprocess
import sys

import pytest
import yaml
from test_repository import ROOT

RECIPES = sorted((ROOT / "envs").glob("*.def"))
SECTIONS = {"files", "post", "environment", "test", "labels"}


def sections(text):
    """Name -> lines of a definition file's sections; `header` holds what stands before them."""
    found, name = {"header": []}, "header"
    for line in text.splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            assert name not in found
            found[name] = []
        elif line.strip() and not line.lstrip().startswith("#"):
            found[name].append(line.strip())
    return found


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return sections(request.param.read_text(encoding="utf-8"))


def test_a_recipe_is_a_definition_file(recipe):
    assert set(recipe) == {"header", *SECTIONS}
    header = dict(line.split(": ", 1) for line in recipe["header"])
    assert header["Bootstrap"] == "docker"
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", header["From"])
    for name in ("post", "environment", "test"):
        script = "\n".join(recipe[name])
        checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_what_is_copied_is_in_the_repository_and_used(recipe):
    scripts = "\n".join(recipe["post"] + recipe["test"])
    for line in recipe["files"]:
        source, target = line.split()
        assert (ROOT / source).exists()
        assert target.startswith("/opt/eele/")
    targets = {line.split()[1] for line in recipe["files"]}
    for path in re.findall(r"/opt/eele/[\w.-]+\.\w+", scripts):
        assert path in targets
    # All that pyproject.toml needs to build the package.
    assert {
        f"/opt/eele/{name}" for name in ("pyproject.toml", "README.md", "LICENSE", "src")
    } <= targets


def test_packages_come_from_the_lock_file(recipe):
    script = " ".join(recipe["post"]).replace("\\ ", "")
    installs = re.findall(r"pip install [^&;]*?/opt/eele(?= )", script)
    assert len(installs) == script.count("pip install") == 1
    assert "--constraint /opt/eele/requirements.lock" in installs[0]
    assert any("check_image.py /opt/eele" in line for line in recipe["test"])


def test_no_secret_is_named(recipe):
    text = "\n".join(line for lines in recipe.values() for line in lines)
    assert not re.search(r"token|password|secret|api[_-]?key|https?://[^/ ]*@", text, re.I)


def test_the_images_python_is_the_environments():
    python = yaml.safe_load((ROOT / "envs" / "eele.yaml").read_text())["dependencies"][0]
    header = sections((ROOT / "envs" / "eele-gpu.def").read_text())["header"]
    assert f"From: python:{python.removeprefix('python=')}-slim-bookworm" in header


def test_another_version_than_the_locked_one_is_told(tmp_path):
    check = [sys.executable, ROOT / "envs" / "check_image.py"]
    right = subprocess.run([*check, ROOT], capture_output=True, text=True)
    assert right.returncode == 0 and "torch" in right.stdout, right.stderr
    (tmp_path / "requirements.lock").write_text("# made\nnumpy==0.0.1\nno-such-package==1\n")
    wrong = subprocess.run([*check, tmp_path], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "numpy" in wrong.stderr and "no-such" not in wrong.stderr
