"""Forced alignment: phone times of every utterance, as TextGrids.

Three stages: `train_aligner` makes an acoustic model per language, `align_shard` finds the phone times of
some speakers, `index` unites them. Two aligners give the same files: `gmm` (embedded, trained on
the corpus itself) and `mfa` (Montreal Forced Aligner in its own environment).
"""

from eele.align.indexing import index
from eele.align.stage import align_shard, train_aligner

__all__ = ["align_shard", "index", "train_aligner"]
