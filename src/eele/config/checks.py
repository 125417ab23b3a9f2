"""What the sections of a study ask of each other: checked when a config is read. Every check raises ValueError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eele.errors import ConfigError
from eele.peft import METHODS
from eele.vocabulary import SCHEMES, SITES

if TYPE_CHECKING:
    from eele.config.models import StudyConfig
    from eele.config.recognition import RecognitionConfig
    from eele.config.sweep import SweepBlock


def check(study: StudyConfig) -> None:
    """Raise ValueError, with the key and what is allowed, for the first thing that does not fit."""
    _schemes(study)
    _upsampling(study)
    _emotions(study)
    ids = [corpus.id for corpus in study.corpora]
    for corpus_id in ids:
        if ids.count(corpus_id) > 1:
            raise ValueError(f"corpora: two corpora are named '{corpus_id}'; set `name` on one")
    _encoders(study, ids)
    if study.recognition is not None:
        _recognition(study, study.recognition, ids)
    _judges(study)
    _voices(study)
    _combining(study)


def _schemes(study: StudyConfig) -> None:
    """Schemes hold sites of the backbone, and blocks of the sweep schemes that their method can go to."""
    sites = SITES[study.backbone.name]
    for name, scheme in study.schemes.items():
        if name in SCHEMES:
            raise ValueError(
                f"schemes.{name}: '{name}' is one of the study's eight; choose another name"
            )
        if not scheme:
            raise ValueError(f"schemes.{name}: holds no site; allowed: {', '.join(sites)}")
        for site in scheme:
            if site not in sites:
                raise ValueError(
                    f"schemes.{name}: unknown site '{site}' for backbone {study.backbone.name}; "
                    f"allowed: {', '.join(sites)}"
                )
    known = {**SCHEMES, **study.schemes}
    for index, block in enumerate(study.sweep):
        for scheme_name in block.schemes:
            if scheme_name not in known:
                raise ValueError(
                    f"sweep.{index}.schemes: unknown scheme '{scheme_name}'; "
                    f"allowed: {', '.join(known)}"
                )
        _sites(study, index, block)


def _sites(study: StudyConfig, index: int, block: SweepBlock) -> None:
    """A block's method can go to its schemes, or to one of them where others may be left out."""
    reasons = {scheme: study.refusal(block.method, scheme) for scheme in block.schemes}
    refused = {scheme: reason for scheme, reason in reasons.items() if reason is not None}
    if not refused or (block.skip_impossible and len(refused) < len(reasons)):
        return
    scheme, reason = next(iter(refused.items()))
    way_out = (
        "no scheme of the block is left"
        if block.skip_impossible
        else f"take {', '.join(refused)} out, or set skip_impossible: true"
    )
    raise ValueError(f"sweep.{index}.schemes: scheme '{scheme}': {reason}; {way_out}")


def _emotions(study: StudyConfig) -> None:
    """Neutral is no emotion to adapt to; cells are of the study's emotions."""
    if "neutral" in study.emotions:
        raise ValueError("emotions: neutral is what the base model speaks; name emotions only")
    chosen = study.adaptation.emotions
    foreign = [emotion for emotion in chosen if emotion not in study.emotions]
    if foreign:
        raise ValueError(
            f"adaptation.emotions: {', '.join(foreign)}: not among the study's emotions "
            f"({', '.join(study.emotions)})"
        )
    if chosen and study.adapts_voices:
        raise ValueError(
            "adaptation.emotions: a study with pretraining.leave_out adapts to neutral voices; take the key out"
        )


def _encoders(study: StudyConfig, ids: list[str]) -> None:
    """What an encoder hears are corpora of the study."""
    for name, encoder in study.encoders.items():
        for corpus in encoder.small.corpora:
            if corpus not in ids:
                raise ValueError(
                    f"encoders.{name}.small.corpora: unknown corpus '{corpus}'; the study "
                    f"has: {', '.join(ids)}"
                )


def _judges(study: StudyConfig) -> None:
    """A judge's encoder is the study's; a published judge in use knows all emotions of the study."""
    evaluation = study.evaluation
    for name, judge in evaluation.encoder_judges.items():
        if judge.encoder not in study.encoders:
            raise ValueError(
                f"evaluation.encoder_judges.{name}.encoder: unknown encoder '{judge.encoder}'; "
                f"`encoders` has: {', '.join(study.encoders)}"
            )
    for name in evaluation.judges:
        if name not in evaluation.published_judges:
            continue
        known = evaluation.published_judges[name].labels.values()
        lacking = [e for e in ("neutral", *study.emotions) if e not in known]
        if lacking:
            raise ValueError(
                f"evaluation.published_judges.{name}.labels: none means {', '.join(lacking)}; a judge "
                "must know neutral and every emotion of the study"
            )


def _combining(study: StudyConfig) -> None:
    """What is plugged together are cells that the study can build."""
    if not study.combining:
        return
    if study.recognition is not None:
        raise ValueError("combining: a study of recognition has no voice to plug adapters into")
    # Cells know the study, so they are imported when there is one.
    from eele.combining.mixtures import mixtures

    try:
        mixtures(study)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _recognition(study: StudyConfig, recognition: RecognitionConfig, ids: list[str]) -> None:
    """Encoders and corpora that a study of recognition names must be the study's."""
    for name in recognition.encoders:
        if name not in study.encoders:
            raise ValueError(
                f"recognition.encoders: unknown encoder '{name}'; `encoders` has: "
                f"{', '.join(study.encoders)}"
            )
    for testbed, config in recognition.testbeds.items():
        for corpus in config.corpora:
            if corpus not in ids:
                raise ValueError(
                    f"recognition.testbeds.{testbed}.corpora: unknown corpus '{corpus}'; the study "
                    f"has: {', '.join(ids)}"
                )


def _upsampling(study: StudyConfig) -> None:
    """What makes samples of frames must make hop_size of each."""
    used = {}
    if study.backbone.name == "vits2":
        used["backbone.vits2.decoder"] = study.backbone.vits2.decoder
    if study.uses_vocoder and study.synthesis.vocoder == "hifigan":
        used["vocoder.generator"] = study.vocoder.generator
    for key, generator in used.items():
        if generator.samples_per_frame != study.audio.hop_size:
            raise ValueError(
                f"{key}.upsample_rates make {generator.samples_per_frame} samples of a frame; "
                f"audio.hop_size is {study.audio.hop_size}"
            )


def _voices(study: StudyConfig) -> None:
    """Raise ValueError where voices left out of pre-training, and what is asked of them, do not fit."""
    new = study.pretraining.leave_out
    if not new:
        for index, block in enumerate(study.sweep):
            if METHODS[block.method].needs == "voices":
                raise ValueError(
                    f"sweep.{index}.method: {block.method} learns voices that pre-training has not heard; name "
                    "them in pretraining.leave_out"
                )
        return
    if len(set(new)) < len(new):
        raise ValueError(f"pretraining.leave_out: {', '.join(new)}: one stands twice")
    if study.recognition is not None:
        raise ValueError("pretraining.leave_out: a study of recognition has no voice to adapt")
    foreign = [voice for voice in study.adaptation.speakers or () if voice not in new]
    if foreign:
        raise ValueError(
            f"adaptation.speakers: {', '.join(foreign)}: the study adapts to the voices that pretraining.leave_out "
            f"names ({', '.join(new)}); take the key out, or name some of these"
        )
