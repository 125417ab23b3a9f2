"""Every recogniser of a study of recognition: encoder x method x testbed x fold x seed. Import-light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eele.config.models import StudyConfig
from eele.paths import StudyPaths
from eele.ser.cells import RecognitionCell, recognition_of
from eele.ser.dividing import FOLDS, fold_names


def recognisers(study: StudyConfig, folds: Mapping[str, Sequence[str]]) -> list[RecognitionCell]:
    """The recognisers on `folds` (testbed -> names), testbeds outermost, in the order of the config."""
    config = recognition_of(study)
    return [
        RecognitionCell.of(encoder, method, testbed, fold, seed)
        for testbed in config.testbeds
        for encoder in config.encoders
        for method in config.methods
        for fold in folds.get(testbed, ())
        for seed in config.seeds
    ]


def known_folds(study: StudyConfig, paths: StudyPaths) -> dict[str, Sequence[str]]:
    """Folds of the testbeds that are divided by now."""
    folders = {name: paths.testbed(name) for name in recognition_of(study).testbeds}
    return {name: fold_names(f) for name, f in folders.items() if (f / FOLDS).is_file()}
