"""A monophone GMM-HMM over one language's phones: graphs of texts, EM, Viterbi.

Three states a phone, left to right, one Gaussian mixture a state, optional silence between words, several
pronunciations a word. The models, the graphs and the search are those of kaldi-hmm-gmm; the sums
of the E step are matrix products here, because the library takes one frame per call.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eele.align.frontend import DIMENSION
from eele.align.mixtures import VARIANCE_FLOOR, Matrix, Mixture, em_step, shares
from eele.align.outcome import Lexicon
from eele.align.textgrid import SILENCE
from eele.errors import DataError
from eele.io import atomic_path

#: Weight of acoustic against transition scores in the search, as in Kaldi's monophone recipe.
ACOUSTIC_SCALE = 0.1
#: Self-loop scale of the graphs, likewise.
SELF_LOOP_SCALE = 0.1
#: States of a phone; a phone lasts at least as many frames.
STATES = 3

#: Transition id of every frame, shape (frames,).
Path = NDArray[np.int32]


def phones_of(lexicon: Lexicon) -> list[str]:
    """Silence and the phones of `lexicon`, sorted: the phones of a model."""
    return [SILENCE, *sorted({phone for ways in lexicon.values() for way in ways for phone in way})]


class Segment(NamedTuple):
    """A phone of a path: frames `first` .. `end` (exclusive)."""

    phone: str
    first: int
    end: int


class MonophoneModel:
    """Acoustic model, transitions and lexicon of one language.

    All randomness is seeded: equal input gives equal models.
    """

    def __init__(
        self, phones: Sequence[str], lexicon: Lexicon, mean: NDArray[Any], variance: NDArray[Any]
    ) -> None:
        """A flat start: every state of `phones` (silence first) is the Gaussian `mean`, `variance` (dim,).

        `lexicon`: word -> pronunciations in these phones.
        """
        import kaldi_hmm_gmm as khg

        self.phones = list(phones)
        self._phone_ids = {phone: index + 1 for index, phone in enumerate(self.phones)}
        self._word_ids = {word: index + 1 for index, word in enumerate(sorted(lexicon))}
        topology = khg.HmmTopology()
        topology.read(_topology(len(self.phones)))
        self._tree = khg.monophone_context_dependency(
            phones=topology.phones, phone2num_pdf_classes=topology.get_phone_to_num_pdf_classes()
        )
        self.transitions = khg.TransitionModel(self._tree, topology)
        self._floor = VARIANCE_FLOOR * variance
        self.mixtures = [
            Mixture(np.ones(1), mean[None].copy(), variance[None].copy())
            for _ in range(self._tree.num_pdfs)
        ]
        self._occupancies = np.zeros(len(self.mixtures))
        self._pdf_of = np.array(self.transitions.transition_id_to_pdf_array(), dtype=np.int64)
        self._is_last = [False] + [
            self.transitions.is_final(transition)
            for transition in range(1, self.transitions.num_transition_ids + 1)
        ]
        self._lexicon_fst = self._build_lexicon_fst(lexicon)
        self._graphs: dict[tuple[str, ...], Any] = {}

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: pathlib.Path) -> None:
        """Write phones, mixtures and transition probabilities, exactly; the lexicon is left out."""
        from safetensors.numpy import save_file

        arrays = {
            "weights": np.concatenate([mixture.weights for mixture in self.mixtures]),
            "means": np.concatenate([mixture.means for mixture in self.mixtures]),
            "variances": np.concatenate([mixture.variances for mixture in self.mixtures]),
            "components": np.array([len(mixture.weights) for mixture in self.mixtures]),
            "log_probs": np.array(self.transitions.log_probs),
            "non_self_loop_log_probs": np.array(self.transitions.non_self_loop_log_probs),
        }
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, {"phones": json.dumps(self.phones)})

    @classmethod
    def load(cls, path: pathlib.Path, lexicon: Lexicon) -> MonophoneModel:
        """A saved model with a lexicon in its phones, to search with.

        Raises DataError where the file is missing or damaged or lacks phones of the lexicon.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                phones = json.loads(file.metadata()["phones"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            ends = np.cumsum(arrays["components"])[:-1]
            mixtures = [
                Mixture(*parts)
                for parts in zip(
                    *(np.split(arrays[name], ends) for name in ("weights", "means", "variances")),
                    strict=True,
                )
            ]
            loops = [arrays[name].tolist() for name in ("log_probs", "non_self_loop_log_probs")]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: no usable model of the aligner ({error!r}); run the stage train_aligner again"
            ) from error
        missing = {*phones_of(lexicon)} - {*phones}
        if missing:
            raise DataError(
                f"{path}: does not know the phones {', '.join(sorted(missing))} of the lexicon; run "
                "the stage train_aligner again"
            )
        model = cls(phones, lexicon, np.zeros(DIMENSION), np.ones(DIMENSION))
        model.mixtures = mixtures
        model._set_transitions(*loops)
        return model

    def _set_transitions(
        self, log_probs: list[float], non_self_loop_log_probs: list[float]
    ) -> None:
        import kaldi_hmm_gmm as khg

        # The library has no setter: its pickle protocol takes the probabilities as items 6 and 7.
        state = list(self.transitions.__getstate__())
        state[6:8] = log_probs, non_self_loop_log_probs
        self.transitions = khg.TransitionModel.__new__(khg.TransitionModel)
        self.transitions.__setstate__(tuple(state))

    # -- graphs ---------------------------------------------------------------------------------

    def _build_lexicon_fst(self, lexicon: Lexicon) -> Any:
        """Phones to words, with optional silence before, between and after words."""
        import kaldifst

        fst = kaldifst.StdVectorFst()
        start, loop, pause = fst.add_state(), fst.add_state(), fst.add_state()
        fst.start = start
        half = float(np.log(2.0))

        def arc(source: int, phone: int, word: int, cost: float, target: int) -> None:
            fst.add_arc(source, kaldifst.StdArc(phone, word, cost, target))

        arc(start, 0, 0, half, loop)
        arc(start, 0, 0, half, pause)
        arc(pause, self._phone_ids[SILENCE], 0, 0.0, loop)
        for word in sorted(lexicon):
            # Alternatives share the probability; their order in the file does not matter.
            for way in sorted(set(lexicon[word])):
                state = loop
                for position, phone in enumerate(way):
                    spoken = self._word_ids[word] if position == 0 else 0
                    if position == len(way) - 1:
                        arc(state, self._phone_ids[phone], spoken, half, loop)
                        arc(state, self._phone_ids[phone], spoken, half, pause)
                    else:
                        following = fst.add_state()
                        arc(state, self._phone_ids[phone], spoken, 0.0, following)
                        state = following
        fst.set_final(loop, 0.0)
        kaldifst.arcsort(fst, "olabel")
        return fst

    def compile_graphs(self, texts: Iterable[tuple[str, ...]]) -> None:
        """Search graphs of these texts with the present transition probabilities; each text once."""
        import kaldi_hmm_gmm as khg

        options = khg.TrainingGraphCompilerOptions(1.0, SELF_LOOP_SCALE, False)
        compiler = khg.TrainingGraphCompiler(
            self.transitions, self._tree, self._lexicon_fst, [], options
        )
        self._graphs = {
            text: compiler.compile_graph_from_text([self._word_ids[word] for word in text])
            for text in sorted(set(texts))
        }

    # -- training -------------------------------------------------------------------------------

    def equal_path(self, text: tuple[str, ...], n_frames: int, seed: int) -> Path | None:
        """A random path through the text's graph whose states last about equally long."""
        import kaldifst

        found, path = kaldifst.equal_align(self._graphs[text], n_frames, seed, 20)
        if not found:
            return None
        return np.array(kaldifst.get_linear_symbol_sequence(path)[1], dtype=np.int32)

    def update(self, frames: Sequence[Matrix], paths: Sequence[Path]) -> None:
        """One EM step of mixtures and transitions on `frames` along `paths`."""
        import kaldi_hmm_gmm as khg

        self._occupancies = em_step(
            self.mixtures, frames, [self.states(path) for path in paths], self._floor
        )
        path = np.concatenate(paths)
        statistics = self.transitions.init_stats()
        statistics += np.bincount(path, minlength=len(statistics))
        self.transitions.mle_update(statistics, khg.MleTransitionUpdateConfig())

    def grow(self, components: int) -> None:
        """Split components until the model holds about `components` in all."""
        for mixture, target in zip(
            self.mixtures, shares(self._occupancies, components), strict=True
        ):
            mixture.split(int(target))

    # -- search ---------------------------------------------------------------------------------

    def best_paths(
        self,
        texts: Sequence[tuple[str, ...]],
        frames: Sequence[Matrix],
        beam: float,
        retry_beam: float,
    ) -> list[Path | None]:
        """Most likely path of each utterance given its text; None where no path survives both beams.

        The graphs of `texts` must have been compiled.
        """
        import kaldi_hmm_gmm as khg

        gmms = self._library_gmms()
        config = khg.AlignConfig(beam, retry_beam, False)
        paths: list[Path | None] = []
        for text, matrix in zip(texts, frames, strict=True):
            decodable = khg.DecodableAmDiagGmmScaled(gmms, self.transitions, matrix, ACOUSTIC_SCALE)
            # The zeros are running totals of the library that are not used here.
            *_, transitions, _words = khg.align_utterance_wrapper(
                config, "", ACOUSTIC_SCALE, self._graphs[text], decodable, 0, 0, 0, 0.0, 0
            )
            path = np.array(transitions, dtype=np.int32)
            paths.append(path if len(path) == len(matrix) else None)
        return paths

    def _library_gmms(self) -> Any:
        """The present mixtures as the library's acoustic model."""
        import kaldi_hmm_gmm as khg

        model = khg.AmDiagGmm()
        for mixture in self.mixtures:
            gmm = khg.DiagGmm(nmix=len(mixture.weights), dim=DIMENSION)
            gmm.set_invvars_and_means(
                (1.0 / mixture.variances).astype(np.float32), mixture.means.astype(np.float32)
            )
            gmm.set_weights(mixture.weights.astype(np.float32))
            gmm.compute_gconsts()
            model.add_pdf(gmm)
        return model

    def states(self, path: Path) -> NDArray[np.int64]:
        """Index of the mixture that each frame of `path` belongs to, shape (frames,)."""
        return self._pdf_of[path]

    def segments(self, path: Path) -> list[Segment]:
        """The phones along `path`; a phone ends with the transition out of its last state."""
        found = []
        first = 0
        for frame, transition in enumerate(path.tolist()):
            if self._is_last[transition]:
                phone = self.phones[self.transitions.transition_id_to_phone(transition) - 1]
                found.append(Segment(phone, first, frame + 1))
                first = frame + 1
        return found


def _topology(phones: int) -> str:
    """Kaldi's three-state left-to-right topology for phones 1 .. `phones`, silence included."""
    states = "".join(
        f"<State> {s} <PdfClass> {s} <Transition> {s} 0.75 <Transition> {s + 1} 0.25 </State>\n"
        for s in range(STATES)
    )
    numbers = " ".join(str(phone) for phone in range(1, phones + 1))
    return (
        f"<Topology>\n<TopologyEntry>\n<ForPhones> {numbers} </ForPhones>\n{states}"
        f"<State> {STATES} </State>\n</TopologyEntry>\n</Topology>\n"
    )
