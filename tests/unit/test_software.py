"""What containers are shown of the machine, and that the software of the jobs is no part of a result."""

import os
import re

import pytest
from test_repository import ROOT

from eele.config import check_study
from eele.deployment import job_variables, of_aligner
from eele.errors import ConfigError
from eele.provenance import config_hash
from eele.workflow import identity

IMAGE = "docker://me/eele:1"


@pytest.fixture
def machine(tmp_path_factory, monkeypatch):
    """A working directory, a repository and a disk, each outside the others and outside /tmp."""
    folder = tmp_path_factory.mktemp("machine")
    for name in ("here", "repository", "disk/corpus", "scratch"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder / "here")
    # Everything of a test lies in /tmp, which containers see.
    monkeypatch.setattr("eele.deployment.SEEN", ())
    for name in ("APPTAINER_BIND", "SINGULARITY_BIND", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


def bound(machine, **values):
    study = check_study({"deployment": {"container": IMAGE}, **values})
    variables = job_variables(study, ["apptainer"], machine / "repository")
    assert variables["APPTAINER_BIND"] == variables["SINGULARITY_BIND"]
    return variables["APPTAINER_BIND"].split(",")


def test_a_container_sees_the_repository_and_the_corpora(machine):
    corpora = [{"adapter": "folder", "name": "mine", "root": str(machine / "disk" / "corpus")}]
    assert bound(machine, corpora=corpora, data_root="/nowhere") == [
        str(machine / "disk" / "corpus"),
        str(machine / "repository"),
    ]


def test_links_out_of_the_working_directory_lead_somewhere(machine):
    (machine / "here" / "results").symlink_to(machine / "scratch")
    (machine / "here" / "data").symlink_to(machine / "disk")
    corpora = [{"adapter": "folder", "name": "mine", "root": "corpus"}]
    assert bound(machine, corpora=corpora) == [
        str(machine / "disk" / "corpus"),
        str(machine / "repository"),
        str(machine / "scratch"),
    ]


def test_dictionaries_and_the_jobs_temporary_folder_are_there(machine, monkeypatch):
    dictionary = machine / "disk" / "words.tsv"
    dictionary.touch()
    monkeypatch.setenv("TMPDIR", str(machine / "scratch"))
    lexicon = {"source": "dictionary", "dictionary": str(dictionary)}
    assert {str(dictionary), str(machine / "scratch")} < set(bound(machine, lexicon=lexicon))


def test_what_the_user_binds_stays_and_is_bound_once(machine, monkeypatch):
    monkeypatch.setenv("APPTAINER_BIND", f"/etc/hosts:/hosts:ro,{machine}")
    assert bound(machine) == ["/etc/hosts:/hosts:ro", str(machine)]


def test_inside_a_job_nothing_is_added_again(machine, monkeypatch):
    once = bound(machine)
    monkeypatch.setenv("APPTAINER_BIND", ",".join(once))
    assert bound(machine) == once


def test_a_name_that_cannot_be_bound_is_refused(machine):
    (machine / "a,b").mkdir()
    with pytest.raises(ConfigError, match="a,b"):
        bound(machine, data_root=str(machine / "a,b"))


@pytest.mark.parametrize("methods", [[], ["conda"]])
def test_without_containers_nothing_is_set(methods):
    assert job_variables(check_study({}), methods, os.curdir) == {}


def test_the_aligner_has_software_of_its_own_where_it_is_mfa():
    own = {"container": "a", "mfa_container": "b", "modules": ["c"], "mfa_modules": ["d"]}
    shared = {"container": "a", "modules": ["c"]}
    mfa = {"aligner": "mfa"}
    assert of_aligner(check_study({"deployment": own})) == ("a", ("c",))
    assert of_aligner(check_study({"deployment": own, "alignment": mfa})) == ("b", ("d",))
    assert of_aligner(check_study({"deployment": shared, "alignment": mfa})) == ("a", ("c",))


def test_software_is_no_part_of_a_study_s_identity():
    plain, other = check_study({}), check_study({"deployment": {"container": IMAGE}})
    assert identity(plain) == identity(other)
    assert config_hash(plain) == config_hash(other)


def test_every_rule_can_run_in_all_three():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule, body in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(encoding="utf-8"), re.M | re.S
        ):
            for directive in ("conda", "container", "envmodules"):
                assert f"\n    {directive}:\n" in body, f"{rule} has no {directive}"
