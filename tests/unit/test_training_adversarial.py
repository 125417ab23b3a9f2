"""Two players in one loop: shared evaluation, exact resume, being told to stop, precision, several processes."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_vits2 import AUDIO, HOP, SEGMENT, ToneStore, config, net

from eele.backbones import weight_norm
from eele.backbones.base import Critic
from eele.backbones.vits2.model import Vits2
from eele.config.models import PretrainingConfig, RuntimeConfig
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.sites import backbone_sites
from eele.stage import Interrupted
from eele.training import checkpoint
from eele.training.data import Normaliser, SpeechSet
from eele.training.devices import deferred_termination, make_fabric
from eele.training.loop import Progress, Run, fit, make_player, train_step

RUNTIME = RuntimeConfig(device="cpu", log_every=2)
SPEAKERS = ["s0", "s1", "s2"]
NORMALISER = Normaliser.from_statistics(
    {
        "mel_mean": [-3.0] * AUDIO.mel_channels,
        "mel_std": [2.0] * AUDIO.mel_channels,
        "speakers": {
            s: {"log_f0_mean": 5.0, "log_f0_std": 1, "energy_db_mean": -20, "energy_db_std": 5}
            for s in SPEAKERS
        },
    }
)


def speech_set(count: int, **kind: int) -> SpeechSet:
    store = ToneStore(count, **kind)
    return SpeechSet(store, list(store.utterances), SPEAKERS, NORMALISER, SEGMENT, HOP)


def run(folder: Path, steps: int, terms: tuple[str, ...] | None = None, **settings: object) -> Run:
    chosen = {
        "batch_size": 4,
        "validate_every": 5,
        "warmup_steps": 0,
        "learning_rate": 3e-3,
        "betas": (0.8, 0.99),
        "gradient_clip": None,
        "decay_per_epoch": 0.99,
        "steps": steps,
        **settings,
    }
    here = PretrainingConfig(**chosen)
    return Run(
        here, here.learning_rate, 3, "this config", folder / "state.pt", folder / "tb", "test", terms,
        pretraining=terms is None,
    )  # fmt: skip


def train(
    a_run: Run, sites: tuple[str, ...] = (), runtime: RuntimeConfig = RUNTIME
) -> tuple[Vits2, Critic | None, Progress]:
    """A pre-training, or with `sites` a cell."""
    model = net()
    torch.manual_seed(1)
    critic = model.critic(a_run.terms)
    how = method("lora")
    if sites:
        torch.manual_seed(2)
        how.attach(model, backbone_sites(config()), AdapterSpec("lora", sites, 2, 2.0))
        model.adapt(sites, 1)
    else:
        model.normalise_weights()
    if critic is not None:
        critic.normalise_weights()
    progress = fit(
        make_fabric(runtime),
        model,
        speech_set(13),
        speech_set(5),
        a_run,
        runtime,
        (lambda: how.state(model)) if sites else model.state_dict,
        (lambda state: how.load(model, state)) if sites else model.load_state_dict,
        critic,
    )
    return model, critic, progress


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def terms_of(sites: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(sorted({t for s in sites for t in net().site_losses[s]})) or None


class KilledError(Exception):
    pass


@pytest.mark.parametrize("sites", [(), ("duration", "flow", "decoder"), ("text_encoder",)])
@pytest.mark.parametrize("killed_at", [1, 7])
def test_a_killed_run_ends_with_the_same_weights(
    tmp_path: Path, sites: tuple[str, ...], killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = terms_of(sites)
    whole, critic, progress = train(run(tmp_path / "whole", 11, terms), sites)
    positions = SpeechSet.positions

    def dies(self: SpeechSet, seed: int, step: int, size: int) -> list[int]:
        if step == killed_at:
            raise KilledError
        return positions(self, seed, step, size)

    monkeypatch.setattr(SpeechSet, "positions", dies)
    with pytest.raises(KilledError):
        train(run(tmp_path / "killed", 11, terms), sites)
    monkeypatch.setattr(SpeechSet, "positions", positions)
    again, same_critic, resumed = train(run(tmp_path / "killed", 11, terms), sites)
    assert same(whole, again)
    assert critic is None or same(critic, same_critic)
    assert resumed.curves == progress.curves


def test_told_to_stop_it_saves_the_step_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = train(run(tmp_path / "whole", 9))
    positions = SpeechSet.positions

    def tells(self: SpeechSet, seed: int, step: int, size: int) -> list[int]:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return positions(self, seed, step, size)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(SpeechSet, "positions", tells)
    with pytest.raises(Interrupted):
        train(run(tmp_path / "told", 9))
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(SpeechSet, "positions", positions)
    saved = checkpoint.load(tmp_path / "told" / "state.pt", "this config")
    assert 5 <= saved["progress"]["step"] < 9
    again, _, _ = train(run(tmp_path / "told", 9))
    assert same(whole, again)


def test_termination_is_remembered_not_obeyed() -> None:
    with deferred_termination() as told:
        assert not told()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told()


def test_one_evaluation_of_the_critic_gives_both_players_their_own_gradients(
    tmp_path: Path,
) -> None:
    """The step equals one in which each player evaluates the critic for itself."""
    model = net()
    torch.manual_seed(1)
    critic = model.critic()
    plain = copy.deepcopy(model), copy.deepcopy(critic)
    a_run = run(tmp_path, 1)
    fabric = make_fabric(RUNTIME)
    players = [
        make_player(fabric, m, a_run, m.state_dict, m.load_state_dict) for m in (model, critic)
    ]
    data = speech_set(4)
    batch = data.batch([0, 1, 2, 3], 1, 0, size=4)
    model.train()
    torch.manual_seed(9)
    found, _ = train_step(fabric, model, players, batch, a_run, 0)

    torch.manual_seed(9)
    losses, judged = plain[0].train()(batch, None, 0)
    total = plain[0].total({**losses, **plain[1](judged)[1]})
    total.backward(inputs=list(plain[0].parameters()))
    apart = {key: tuple(t.detach() for t in value) for key, value in judged.items()}
    own = plain[1](apart)[0]
    sum(own.values()).backward()
    for name, value in own.items():
        torch.testing.assert_close(found[name], value)
    for ours, theirs in zip(
        (*model.parameters(), *critic.parameters()),
        (*plain[0].parameters(), *plain[1].parameters()),
        strict=True,
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_mel_loss_falls_and_both_players_move(tmp_path: Path) -> None:
    _, critic, progress = train(run(tmp_path, 60, validate_every=20, learning_rate=1e-2))
    mel = [row["mel"] for row in progress.curves if row["split"] == "validation"]
    assert mel[-1] < 0.5 * mel[0]
    torch.manual_seed(1)
    fresh = net().critic()
    weight_norm.fold(critic)
    assert not any(
        torch.equal(v, fresh.state_dict()[k])
        for k, v in critic.state_dict().items()
        if k.endswith("weight")
    )
    assert {"critic", "duration_critic", "adversarial", "features"} <= set(progress.curves[1])


def test_half_precision_leaves_the_recordings_as_they_are(tmp_path: Path) -> None:
    half = RuntimeConfig(device="cpu", log_every=2, precision="bf16-mixed")
    fabric = make_fabric(half)
    sample = torch.tensor([0.123456789])
    assert fabric.strategy.precision.convert_input((sample,))[0].dtype == torch.float32
    _, _, exact = train(run(tmp_path / "full", 4))
    _, _, rough = train(run(tmp_path / "half", 4), runtime=half)
    for a, b in zip(exact.curves, rough.curves, strict=True):
        assert b["mel"] == pytest.approx(a["mel"], rel=0.05) and b["mel"] != a["mel"]


def test_loss_scaling_finds_its_scale_and_both_players_learn(tmp_path: Path) -> None:
    """At first the scale is too large, and the steps it spoils are skipped."""
    half = RuntimeConfig(device="cpu", log_every=2, precision="16-mixed")
    _, _, progress = train(run(tmp_path, 24, validate_every=24), runtime=half)
    mel = [row["mel"] for row in progress.curves if row["split"] == "validation"]
    assert mel[-1] < 0.8 * mel[0]
    saved = checkpoint.load(tmp_path / "state.pt", "this config")
    assert saved["precision"]["scale"] > 0


_TWO_PROCESSES = """
import sys, torch
from pathlib import Path
import test_training_adversarial as t
from eele.training.devices import make_fabric
from eele.config.models import RuntimeConfig
from eele.training.loop import fit

runtime = RuntimeConfig(device="cpu", log_every=1)
fabric = make_fabric(runtime, int(sys.argv[1]))
model = t.net(durations="alignment")
torch.manual_seed(1)
critic = model.critic()
model.posterior.requires_grad_(True)
progress = fit(
    fabric, model, t.speech_set(8, frames_per_phone=3), t.speech_set(4, frames_per_phone=3),
    t.run(Path(sys.argv[2]), 3, warmup_steps=3, validate_every=3), runtime,
    model.state_dict, model.load_state_dict, critic,
)
if fabric.is_global_zero:
    curves = [row for row in progress.curves if row["split"] == "validation"]
    torch.save({"curves": curves, "model": model.state_dict()}, Path(sys.argv[2]) / "out.pt")
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each takes half of the batch and both end with the same weights. Their noise differs, so that the weights
    are near those of one process, not equal."""
    script = tmp_path / "train.py"
    script.write_text(_TWO_PROCESSES, encoding="utf-8")
    results = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, str(script), str(count), str(folder)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(torch.load(folder / "out.pt", weights_only=True))
    one, two = results
    start = net(durations="alignment").state_dict()
    apart = sum((v - one["model"][k]).square().sum() for k, v in two["model"].items())
    moved = sum((v - start[k]).square().sum() for k, v in one["model"].items())
    assert 0 < apart < moved
    assert two["curves"][0]["mel"] == pytest.approx(one["curves"][0]["mel"], rel=0.1)
