"""Forced alignment: phone times of every utterance, as TextGrids.

`align(study, paths)` is the stage. Two aligners give the same files: `gmm` (embedded, trained on the
corpus itself) and `mfa` (Montreal Forced Aligner in its own environment).
"""

from eele.align.stage import align

__all__ = ["align"]
