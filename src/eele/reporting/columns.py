"""The columns of `tables/cells.csv`. Import-light: other stages read the names from here."""

from __future__ import annotations

from collections.abc import Sequence

AXIS_COLUMNS = ("backbone", "method", "scheme", "rank", "emotion", "seed")

#: From `adapter/training.json`; empty for baselines, which have no weights of their own.
TRAINING_COLUMNS = ("trainable_parameters", "adapter_bytes", "train_seconds", "steps")

SCORE_COLUMNS = (
    "emotion_accuracy",
    "emotion_accuracy_low",
    "emotion_accuracy_high",
    "phone_error_rate",
    "mcd_db",
    "log_f0_rmse",
    "log_f0_correlation",
    "f0_mean_shift_st",
    "f0_range_shift_st",
    "rate_ratio",
    "energy_shift_db",
    "speaker_similarity",
)

COUNT_COLUMNS = ("n_scored", "n_total")

#: Shifts from neutral, which the recordings show too.
SHIFTS = ("f0_mean_shift_st", "f0_range_shift_st", "rate_ratio", "energy_shift_db")

#: The contract: these stand first in `tables/cells.csv`, in this order.
COLUMNS = (*AXIS_COLUMNS, *TRAINING_COLUMNS, *SCORE_COLUMNS, *COUNT_COLUMNS)

#: After the contract's columns: intervals of the other scores, and the recordings' own shifts.
INTERVAL_COLUMNS = tuple(
    f"{column}_{end}"
    for column in SCORE_COLUMNS
    if not column.startswith("emotion_accuracy")
    for end in ("low", "high")
)
RECORDING_COLUMNS = tuple(f"recording_{shift}" for shift in SHIFTS)
#: From `adapter/training.json` as well: how a cell was trained, as far as its file says so.
FACT_COLUMNS = (
    "best_step",
    "stopped_early",
    "loss_terms",
    "critic_parameters",
    "not_wrapped",
    "not_wrapped_reasons",
)
#: The trainable weights that a cell's rank was chosen for (several: `10000; 12000`); empty where the config
#: names the rank.
BUDGET_COLUMN = "budget"
EXTRA_COLUMNS = (BUDGET_COLUMN, *INTERVAL_COLUMNS, *RECORDING_COLUMNS, *FACT_COLUMNS)

#: Columns of words; all others hold numbers.
TEXT_COLUMNS = (
    *("backbone", "method", "scheme", "emotion", "seed"),
    *(BUDGET_COLUMN, "stopped_early", "loss_terms", "not_wrapped_reasons"),
)

#: Loss terms of all backbones and of the vocoder in the order they are shown, and in words.
LOSS_TERMS = {
    "mel": "mel",
    "postnet": "mel after postnet",
    "kl": "divergence",
    "duration": "duration",
    "pitch": "pitch",
    "energy": "energy",
    "adversarial": "adversarial",
    "features": "feature matching",
    "duration_adversarial": "adversarial duration",
    "critic": "discriminators",
    "duration_critic": "duration discriminator",
}

WHOLE_NUMBERS = (
    "rank",
    "trainable_parameters",
    "adapter_bytes",
    "steps",
    "n_scored",
    "n_total",
    "best_step",
    "critic_parameters",
    "not_wrapped",
)


def judge_columns(judges: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Judge -> its columns of utterances.csv: the emotion it heard, the probability of the one meant."""
    first, *others = judges
    return {
        first: ("predicted_emotion", "probability_target"),
        **{judge: (f"predicted_{judge}", f"probability_{judge}") for judge in others},
    }
