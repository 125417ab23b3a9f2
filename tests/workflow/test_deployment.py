"""`--sdm`: how a rule's command is wrapped, seen by stand-ins for apptainer, module and conda that run it."""

import os
import shlex
import sys

import pytest
import yaml
from running import ROOT, SMOKE, run
from test_slurm import _TOOLS

pytestmark = pytest.mark.workflow

LISTING = "results/smoke/corpora/demo/source.json"
#: Apptainer hands on the environment, but for the PATH, which is the image's own.
APPTAINER = """#!/bin/bash
if [ "$1" = --version ]; then echo "apptainer version 1.3.4"; exit; fi
printf "%q " "$@" >> "$CALLS"; echo >> "$CALLS"
printf "%s\\n" "$APPTAINER_BIND" "$EELE_PYTHON" > "$CALLS.environment"
[ "$1" = exec ] || exit 1
shift
while [ $# -gt 0 ]; do case "$1" in --home|--bind|--pwd) shift 2;; --*) shift;; *) break;; esac; done
shift
PATH="$IMAGE:/usr/bin:/bin" exec "$@"
"""
#: As on clusters, a function that shells inherit.
MODULE = """() {
 echo "$@" >> "$CALLS"
 case "$*" in *missing*) echo "no such module" >&2; return 1;; esac
}"""
CONDA = """#!/bin/bash
echo "$@" >> "$CALLS"
case "$*" in
  info*) echo '{"conda_prefix": "PREFIX", "platform": "linux-64"}';;
  config*) echo '{"get": {"channel_priority": "strict"}}';;
  "env create"*) for last; do :; done; mkdir -p "$last";;
  --version) echo "conda 25.1.0";;
esac
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder first on the PATH; `write(name, text)` puts a program there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("IMAGE", str(tmp_path / "image"))
    for name in ("APPTAINER_BIND", "SINGULARITY_BIND", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "calls").touch()

    def write(name, text, where=folder):
        where.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(text)
        (where / name).chmod(0o755)

    return write


@pytest.fixture
def study(tmp_path):
    """Run a target of the smoke study in an empty folder, with this `deployment`."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "scripts").symlink_to(ROOT / "scripts")

    def ask(method, deployment, target=LISTING, *arguments):
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"deployment": deployment}))
        return run(
            target, "--sdm", *method, "--cores", "1", *arguments, "--snakefile",
            ROOT / "Snakefile", "--directory", folder,
            "--configfile", SMOKE, tmp_path / "cluster.yaml",
        )  # fmt: skip

    ask.folder = folder
    return ask


#: A stand-in for another Python: it notes itself and where it finds the package, and is this one.
PYTHON = f"""#!/bin/sh
printf "%s\\n" "$0" "$PYTHONPATH" > "$CALLS.python"
exec {sys.executable} "$@"
"""


@pytest.fixture
def other_python(programs, tmp_path):
    """Another Python in the folder $IMAGE; a call tells that it ran, with this checkout's code."""
    programs("python", PYTHON, where=tmp_path / "image")

    def ran():
        noted = (tmp_path / "calls.python").read_text().splitlines()
        return noted == [str(tmp_path / "image" / "python"), str(ROOT / "src")]

    return ran


def test_a_stage_runs_in_the_image(programs, other_python, study, tmp_path):
    image = tmp_path / "eele.sif"
    image.touch()
    programs("apptainer", APPTAINER)
    answer = study(["apptainer"], {"container": str(image)})
    assert answer.code == 0, answer.text
    assert (study.folder / LISTING).exists()
    (call,) = (tmp_path / "calls").read_text().splitlines()
    words = shlex.split(call)
    assert words[words.index("--home") + 1] == str(study.folder)
    assert words[-4:-1] == [str(image), "bash", "-c"]
    assert "python scripts/collect_corpus.py" in words[-1]
    assert other_python()
    bound, interpreter = (tmp_path / "calls.environment").read_text().splitlines()
    assert interpreter == "python"
    assert ROOT.is_relative_to("/tmp") or str(ROOT) in bound.split(",")


def test_modules_are_loaded_before_a_stage_runs(programs, study, tmp_path, monkeypatch):
    monkeypatch.setenv("BASH_FUNC_module%%", MODULE)
    answer = study(["env-modules"], {"modules": ["python/3.11", "cuda/13"]})
    assert answer.code == 0, answer.text
    assert (tmp_path / "calls").read_text().splitlines() == ["purge", "load python/3.11 cuda/13"]
    assert (study.folder / LISTING).exists()


def test_a_module_that_cannot_be_loaded_ends_the_job(programs, study, monkeypatch):
    monkeypatch.setenv("BASH_FUNC_module%%", MODULE)
    answer = study(["env-modules"], {"modules": ["missing/1"]})
    assert answer.code != 0
    assert "the modules of `deployment` could not be loaded" in answer.text
    assert not (study.folder / LISTING).exists()


def test_in_a_conda_environment_a_stage_finds_the_package(programs, other_python, study, tmp_path):
    prefix = tmp_path / "conda"
    programs("conda", CONDA.replace("PREFIX", str(prefix)))
    programs("activate", 'PATH="$IMAGE:$PATH"\n', where=prefix / "bin")
    answer = study(["conda"], {})
    assert answer.code == 0, answer.text
    assert other_python()
    assert (study.folder / LISTING).exists()


@pytest.mark.parametrize(
    "method, deployment, said",
    [
        (["apptainer"], {}, "set deployment.container to a .sif file"),
        (["apptainer"], {"container": "no.sif"}, "deployment.container: there is no no.sif"),
        (["env-modules"], {}, "set deployment.modules to a list"),
        (["conda", "apptainer"], {}, "--sdm apptainer conda: choose one"),
        (["conda"], {"container": "a b"}, "deployment.container: got 'a b'"),
    ],
)
def test_what_the_study_does_not_name_is_refused(study, method, deployment, said):
    answer = study(method, deployment, LISTING, "-n")
    assert answer.code != 0
    assert said in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "method, deployment",
    [
        ("env-modules", {"modules": ["cuda/13"]}),
        ("apptainer", {"container": "docker://me/eele:1"}),
        ("apptainer", {"container": "docker://me/eele:2"}),
    ],
)
def test_other_software_reruns_nothing(finished, programs, tmp_path, method, deployment):
    programs("apptainer", APPTAINER)
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"deployment": deployment}))
    answer = finished("--sdm", method, overrides=[tmp_path / "cluster.yaml"])
    assert "Nothing to be done" in answer.text


def test_a_node_is_told_as_well(programs, study, tmp_path, monkeypatch):
    for name, body in _TOOLS.items():
        programs(name, f"#!/bin/bash\n{body}\n")
    programs("apptainer", APPTAINER)
    (tmp_path / "eele.sif").touch()
    monkeypatch.setenv("SUBMITTED", str(tmp_path / "submitted"))
    profile = ["--profile", ROOT / "profiles" / "slurm", "--retries", "0"]
    study(["apptainer"], {"container": str(tmp_path / "eele.sif")}, LISTING, *profile)
    (command,) = (tmp_path / "submitted").read_text().splitlines()
    assert "--deployment-method apptainer" in shlex.split(command)[-1]
    # Where the node's Snakemake finds the image, and wraps the stage itself.
    assert str(tmp_path / "cluster.yaml") in shlex.split(command)[-1]


def test_named_modules_rerun_nothing_where_they_are_not_used(finished):
    assert "Nothing to be done" in finished("--config", "deployment={modules: [cuda/13]}").text


def test_mfa_has_an_image_of_its_own(programs, study, tmp_path):
    images = {"container": "docker://me/eele:1", "mfa_container": "docker://me/mfa:1"}
    programs("apptainer", APPTAINER)
    for aligner, expected in (("mfa", 2), ("gmm", 1)):
        answer = study(
            ["apptainer"], images, "results/smoke/alignment/alignment.csv", "-n",
            "--config", f"alignment={{aligner: {aligner}}}",
        )  # fmt: skip
        assert answer.text.count("will be pulled") == expected, answer.text
