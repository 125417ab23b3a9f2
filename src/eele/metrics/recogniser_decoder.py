"""Phone-loop decoding: hidden Markov model over phones with a bigram and smallest durations.

Each phone is a left-to-right chain of `states` states that share one emission; the last one loops. A
phone enters its chain late enough that its smallest duration (the low end of what the training
alignments hold) must be stayed. Emissions are scaled likelihoods: log p(phone | frame) - prior_scale x
log p(phone) (Bourlard & Morgan, Connectionist Speech Recognition, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Log probability of what cannot happen; finite, so that padded arithmetic makes no NaN.
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class PhoneLoop:
    """Transition model over `phones` classes.

    log_initial (phones,); log_bigram (phones, phones) [from, to]; log_final (phones,);
    minimum (phones,) smallest duration in frames, >= 1; log_stay, log_leave (phones,) of the looping
    state.
    """

    log_initial: np.ndarray
    log_bigram: np.ndarray
    log_final: np.ndarray
    minimum: np.ndarray
    log_stay: np.ndarray
    log_leave: np.ndarray


def estimate_phone_loop(
    sequences: list[np.ndarray],
    durations: list[np.ndarray],
    phones: int,
    longest_minimum: int = 4,
    backoff: float = 10.0,
) -> PhoneLoop:
    """The transition model of aligned training speech.

    sequences: per utterance class indices (n,) in 0..phones-1, -1 where unknown; durations: their frames
    (n,). Bigrams are smoothed towards the unigram with `backoff` pseudo-counts (Witten-Bell in spirit);
    a phone's smallest duration is the 5th percentile of its durations, at most `longest_minimum`.
    Phones of no frames count in the bigram but not in the durations.
    """
    counts = np.zeros((phones, phones))
    unigram = np.full(phones, 0.1)
    initial = np.zeros(phones)
    final = np.zeros(phones)
    lengths: list[list[int]] = [[] for _ in range(phones)]
    for sequence, frames in zip(sequences, durations, strict=True):
        known = sequence >= 0
        pairs = known[1:] & known[:-1]
        np.add.at(counts, (sequence[:-1][pairs], sequence[1:][pairs]), 1)
        np.add.at(unigram, sequence[known], 1)
        if len(sequence) and known[0]:
            initial[sequence[0]] += 1
        if len(sequence) and known[-1]:
            final[sequence[-1]] += 1
        for phone, count in zip(sequence[known], frames[known], strict=True):
            if count > 0:
                lengths[phone].append(int(count))
    probability = unigram / unigram.sum()

    def smoothed(row: np.ndarray) -> np.ndarray:
        mixed = (row + backoff * probability) / (row.sum() + backoff)
        return np.log(mixed)

    everything = [length for of_phone in lengths for length in of_phone] or [1]
    overall = float(np.mean(everything))
    minimum = np.ones(phones, dtype=np.int64)
    mean = np.full(phones, overall)
    for phone, of_phone in enumerate(lengths):
        if len(of_phone) >= 5:
            minimum[phone] = np.clip(int(np.percentile(of_phone, 5)), 1, longest_minimum)
            mean[phone] = np.mean(of_phone)
    # Geometric tail beyond the smallest duration: mean = minimum - 1 + 1 / leave.
    leave = 1.0 / np.maximum(mean - minimum + 1.0, 1.05)
    return PhoneLoop(
        log_initial=smoothed(initial),
        log_bigram=np.stack([smoothed(row) for row in counts]),
        log_final=smoothed(final),
        minimum=minimum,
        log_stay=np.log1p(-leave),
        log_leave=np.log(leave),
    )


def viterbi(
    log_likelihood: np.ndarray,
    lengths: np.ndarray,
    loop: PhoneLoop,
    grammar_scale: float = 1.0,
    insertion: float = 0.0,
) -> list[np.ndarray]:
    """Best phone sequence of each utterance of a padded batch.

    log_likelihood (batch, frames, phones); lengths (batch,) frames of each; `grammar_scale` multiplies
    the bigram, `insertion` is added for each phone entered. Returns per utterance the class indices
    (n,) int64 of the phones entered, in order. A phone may follow itself as a new phone. An utterance too
    short for any phone's smallest duration gives an empty sequence.

    All utterances and phones are advanced together; the time loop is the only one in Python.
    """
    batch, frames, phones = log_likelihood.shape
    depth = int(loop.minimum.max())
    enter = grammar_scale * loop.log_bigram + insertion + loop.log_leave[:, None]
    entry_state = depth - loop.minimum  # (phones,)
    columns = np.arange(phones)
    rows = np.arange(batch)[:, None]

    score = np.full((batch, phones, depth), IMPOSSIBLE)
    score[:, columns, entry_state] = (
        grammar_scale * loop.log_initial + insertion + log_likelihood[:, 0]
    )
    # started[b, p, d]: frame at which the phone occupying (p, d) was entered.
    started = np.zeros((batch, phones, depth), dtype=np.int32)
    previous = np.full((batch, frames, phones), -1, dtype=np.int32)  # phone before an entry
    previous_start = np.zeros((batch, frames, phones), dtype=np.int32)
    end_score = np.full((batch, phones), IMPOSSIBLE)
    end_start = np.zeros((batch, phones), dtype=np.int32)

    def remember_ends(frame: int) -> None:
        over = lengths == frame + 1
        if over.any():
            end_score[over] = score[over, :, -1] + grammar_scale * loop.log_final + loop.log_leave
            end_start[over] = started[over, :, -1]

    remember_ends(0)
    for frame in range(1, frames):
        last = score[:, :, -1]
        paths = last[:, :, None] + enter  # (batch, from, to)
        best_from = paths.argmax(axis=1)
        best_score = np.take_along_axis(paths, best_from[:, None, :], axis=1)[:, 0]
        previous[:, frame] = best_from
        previous_start[:, frame] = started[rows, best_from, depth - 1]

        new = np.full_like(score, IMPOSSIBLE)
        new_started = started.copy()
        new[:, :, 1:] = score[:, :, :-1]
        new_started[:, :, 1:] = started[:, :, :-1]
        stay = last + loop.log_stay
        keep = stay >= new[:, :, -1]
        new[:, :, -1] = np.where(keep, stay, new[:, :, -1])
        new_started[:, :, -1] = np.where(keep, started[:, :, -1], new_started[:, :, -1])
        entering = best_score > new[:, columns, entry_state]
        new[:, columns, entry_state] = np.where(entering, best_score, new[:, columns, entry_state])
        new_started[:, columns, entry_state] = np.where(
            entering, frame, new_started[:, columns, entry_state]
        )
        score = new + log_likelihood[:, frame, :, None]
        started = new_started
        remember_ends(frame)

    sequences = []
    for item in range(batch):
        if lengths[item] == 0 or end_score[item].max() <= IMPOSSIBLE / 2:
            sequences.append(np.zeros(0, dtype=np.int64))
            continue
        phone = int(end_score[item].argmax())
        start = int(end_start[item, phone])
        path = [phone]
        while start > 0:
            before = int(previous[item, start, phone])
            start, phone = int(previous_start[item, start, phone]), before
            path.append(phone)
        sequences.append(np.array(path[::-1], dtype=np.int64))
    return sequences
