"""VITS2 as a whole: what reaches what, frozen parts computed once, padding, speech."""

from __future__ import annotations

import pytest
import torch
from small_vits2 import HOP, config, items, net, padded

from eele.backbones.base import Batch
from eele.backbones.vits2.model import Vits2
from eele.backbones.vits2.parts import Parts
from eele.peft import method
from eele.peft.base import AdapterSpec
from eele.sites import SITES, backbone_sites
from eele.vocabulary import SCHEMES, scheme_sites


def gradients(model: Vits2, batch: Batch, terms: tuple[str, ...] | None) -> dict:
    """Of the weighted losses, a critic's included, on the trainable weights."""
    critic = model.critic(terms)
    for judge in critic.judges.values() if critic is not None else ():
        torch.manual_seed(5)
        with torch.no_grad():
            for parameter in judge.parameters():
                parameter.copy_(0.1 * torch.randn_like(parameter))
    torch.manual_seed(6)
    losses, judged = model(batch, terms)
    if critic is not None:
        losses = {**losses, **critic(judged)[1]}
    model.zero_grad()
    model.total(losses).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("predictor", ["flow", "adversarial"])
def test_losses_reach_the_parts_they_should(predictor: str) -> None:
    model = net(predictor).train()
    known = {term for terms in model.site_losses.values() for term in terms}
    reached = {}
    for term in sorted(known - {"adversarial", "features", "duration_adversarial"}):
        found = gradients(model, padded(items()), (term,))
        reached[term] = {n.split(".")[0] for n, g in found.items() if g.abs().max() > 0}
    # Every part hears the speaker, so the shared vectors move with each.
    assert reached["mel"] == {"decoder", "posterior", "speaker_embedding"}
    assert reached["kl"] == {"text_encoder", "flow", "posterior", "speaker_embedding"}
    assert reached["duration"] == {"duration_predictor", "speaker_embedding"}


@pytest.mark.parametrize("predictor", ["flow", "adversarial"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_cells_own_terms_carry_the_whole_gradient(scheme: str, predictor: str) -> None:
    """With the base frozen, only what the sites' losses reach is computed, from stored outputs of frozen
    parts; the gradients are those of everything computed anew."""
    sites = scheme_sites(scheme, "vits2")
    found = []
    for pruned in (False, True):
        model = net(predictor)
        method("lora").attach(
            model, backbone_sites(config(predictor)), AdapterSpec("lora", sites, 2, 2.0)
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora" in name:
                    parameter.copy_(0.1 * torch.randn_like(parameter))
        # 1 MB keeps everything of this model; without room every output is computed anew.
        model.adapt(sites, 1)
        if not pruned:
            model.constants._room = 0
        model.eval().train()
        model.duration_predictor.eval(), model.text_encoder.eval(), model.flow.eval()
        terms = tuple(sorted({t for s in sites for t in model.site_losses[s]})) if pruned else None
        batch = padded(items())
        if pruned:
            gradients(model, batch, terms)  # fills the store
            assert model.constants._kept
        found.append(gradients(model, batch, terms))
    everything, pruned_only = found
    assert everything.keys() == pruned_only.keys() and everything
    for name, gradient in everything.items():
        torch.testing.assert_close(pruned_only[name], gradient, rtol=1e-4, atol=1e-6)


def test_stored_outputs_do_not_depend_on_the_batch_they_came_in() -> None:
    model = net()
    model.adapt(("duration",), 1)
    model.train()
    model(padded(items()), ("duration",))
    together = dict(model.constants._kept)
    model.adapt(("duration",), 1)
    for item in reversed(items()):
        model(item, ("duration",))
    for key, values in model.constants._kept.items():
        assert all(torch.equal(a, b) for a, b in zip(values, together[key], strict=True))


def test_draws_of_the_posterior_take_turns() -> None:
    model = net(posterior_draws=2)
    model.adapt(("decoder",), 1)
    drawn = [model.eval()(items(epoch)[0], ("mel",)).losses["mel"] for epoch in range(4)]
    assert drawn[0] == drawn[2] and drawn[1] == drawn[3] and drawn[0] != drawn[1]


def test_padding_changes_no_loss() -> None:
    model = net(durations="alignment").eval()
    model.adapt((), 1)  # the posterior's noise is fixed by the utterance
    together = model(padded(items())).losses
    alone = [model(item).losses for item in items()]
    sizes = {
        "kl": [float(i.mel_lengths) for i in items()],
        "mel": [1.0] * 3,
    }
    for name, weights in sizes.items():
        expected = sum(a[name] * w for a, w in zip(alone, weights, strict=True)) / sum(weights)
        torch.testing.assert_close(together[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("predictor", ["flow", "adversarial"])
def test_a_padded_batch_speaks_each_item_as_alone(predictor: str) -> None:
    model = net(predictor).eval()
    batch = padded(items())
    with torch.no_grad():
        together = model.synthesise(batch.phones, batch.phone_lengths, batch.speakers)
        again = model.synthesise(batch.phones, batch.phone_lengths, batch.speakers)
        assert torch.equal(together.samples, again.samples)
        for row, item in enumerate(items()):
            alone = model.synthesise(item.phones, item.phone_lengths, item.speakers)
            frames = int(alone.lengths)
            assert int(together.lengths[row]) == frames == int(alone.durations.sum())
            assert alone.samples.shape == (1, (frames - 1) * HOP)
            torch.testing.assert_close(
                together.samples[row, : (frames - 1) * HOP], alone.samples[0], rtol=1e-3, atol=1e-5
            )


def test_copies_have_the_recordings_length() -> None:
    model = net().eval()
    item = items()[0]
    with torch.no_grad():
        copy = model.resynthesise(item.mel, item.mel_lengths, item.speakers)
    assert copy.shape == (1, (int(item.mel_lengths) - 1) * HOP)


def test_search_gives_every_phone_a_frame_and_noise_only_in_pretraining() -> None:
    model = net().train()
    parts = Parts(model, padded(items()))
    parts.start_search()
    durations = parts.durations
    assert torch.equal(durations.sum(1), parts.batch.mel_lengths)
    assert (durations[parts.phone_mask] >= 1).all() and (durations[~parts.phone_mask] == 0).all()
    assert model._search_noise(0) == 0.01 and model._search_noise(6000) == 0.0
    assert model._search_noise(None) == 0.0


def test_frozen_parts_of_a_cell_stay_in_evaluation_mode() -> None:
    model = net()
    model.adapt(("flow",), 1)
    model.train()
    assert model.flow.training and not model.text_encoder.training and not model.posterior.training
    model.eval()
    assert not model.flow.training


@pytest.mark.parametrize("predictor", ["flow", "adversarial"])
@pytest.mark.parametrize("site", [site.name for site in SITES["vits2"]])
def test_sites_hold_the_expected_modules(site: str, predictor: str) -> None:
    assert backbone_sites(config(predictor)).modules(net(predictor), site)
