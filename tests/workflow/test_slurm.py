"""What the profile `slurm` submits, seen by a stand-in for Slurm that writes down and refuses."""

import os
import shlex
import shutil

import pytest
from running import ROOT, SMOKE, run

pytestmark = pytest.mark.workflow

#: Every tool the executor asks; `sbatch` notes its arguments and takes no job.
_TOOLS = {
    "sbatch": 'printf "%s\\n" "$(printf "%q " "$@")" >> "$SUBMITTED"; exit 1',
    "sinfo": "echo cpu",
    "sacct": "true",
    "squeue": "true",
    "sacctmgr": "true",
    "scontrol": 'echo "MinJobAge = 300 sec"; echo "MaxArraySize = 1001"',
}


@pytest.fixture
def submit(finished, tmp_path, monkeypatch):
    """Ask for a target of the finished smoke study again; the sbatch lines of that, as lists."""
    folder = shutil.copytree(finished.folder, tmp_path / "study")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in _TOOLS.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    log = tmp_path / "submitted"
    log.touch()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITTED", str(log))

    def ask(target, rule, *arguments, device="cuda"):
        answer = run(
            target, "--forcerun", rule, "--profile", ROOT / "profiles" / "slurm",
            "--snakefile", ROOT / "Snakefile", "--directory", folder, *arguments,
            "--configfile", SMOKE, "--config", f"runtime={{device: {device}}}",
        )  # fmt: skip
        assert answer.code != 0
        return [shlex.split(line) for line in log.read_text().splitlines()]

    return ask


@pytest.mark.parametrize(
    "target, rule, runtime_min",
    [("neutral/model.json", "pretrain", "1440"), ("ADAPTER", "train_cell", "480")],
)
def test_a_training_is_told_before_its_time_is_up_and_submitted_again(
    submit, target, rule, runtime_min
):
    adapter = "cells/backbone~fastspeech2/method~full/scheme~-/rank~0/emotion~happy/seed~1/adapter"
    target = target.replace("ADAPTER", f"{adapter}/adapter.safetensors")
    submitted = submit(f"results/smoke/{target}", rule)
    assert len(submitted) == 1 + 10
    for arguments in submitted:
        assert {"--requeue", "--signal=TERM@180", "--gpus=1"} <= set(arguments)
        assert arguments[arguments.index("-t") + 1] == runtime_min
    # More memory for want of which it may have failed; but ten time limits are no reason to ask for elevenfold.
    memory = [int(arguments[arguments.index("--mem") + 1]) for arguments in submitted]
    assert memory == [memory[0] * min(attempt, 3) for attempt in range(1, 12)]


def test_what_keeps_no_checkpoint_is_submitted_thrice_and_killed_at_its_limit(submit):
    submitted = submit("results/smoke/recogniser/model.json", "train_recogniser")
    assert len(submitted) == 1 + 2
    for arguments in submitted:
        assert "--requeue" in arguments
        assert not any(argument.startswith("--signal") for argument in arguments)


@pytest.mark.parametrize("device, gpus", [("cuda", 1), ("cpu", 0)])
def test_cells_of_one_job_run_in_turn_and_their_times_add_up(submit, device, gpus):
    submitted = submit(
        "results/smoke/tables/cells.csv", "train_cell", "--group-components", "cell=3",
        "--cores", "4", "--preemptible-retries", "0", "--retries", "0", device=device,
    )  # fmt: skip
    (arguments,) = submitted
    assert "--signal=TERM@180" in arguments
    assert [a for a in arguments if a.startswith("--gpus")] == ["--gpus=1"] * gpus
    assert arguments[arguments.index("-t") + 1] == str(3 * (480 + 120 + 120))
    assert arguments[arguments.index("--mem") + 1] == "2500"
    assert "--cpus-per-task=1" in arguments
