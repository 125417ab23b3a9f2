"""Linear discriminant analysis whose class means adapt to each speaker; closed form, no iterations.

Why this classifier (nEMO, two speakers, six emotions, five random splits by sentence): on recordings it
scores as support vector machines and logistic regression do (0.95-0.96), on the same speech after
smoothing and resynthesis of the mel spectrogram, which is what a small text-to-speech model makes, it
keeps 8-15 points more; a pooled model of both speakers loses 4 points, two separate ones fail where a
speaker lacks an emotion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Weight, in utterances, of the covariance pooled over speakers against a speaker's own.
COVARIANCE_PRIOR = 100.0
#: Normalised features beyond this many standard deviations are outliers and are held here.
CLIP = 4.0

TEMPERATURES = tuple(float(t) for t in np.round(np.geomspace(1, 16, 17), 3))


@dataclass(frozen=True)
class Hyperparameters:
    """mean_prior: weight of the class mean over all speakers against a speaker's own, in utterances;
    shrinkage: share of the scaled identity in the covariance (Ledoit & Wolf's target), in (0, 1]."""

    mean_prior: float
    shrinkage: float


@dataclass(frozen=True)
class Discriminant:
    """A fitted model: everything needed to classify, as plain arrays.

    centre (speakers, features): what a speaker's features are measured from; scale (features,); fill
    (features,): value of an unmeasurable feature after normalisation; weights (speakers, classes,
    features); bias (speakers, classes). Classes have equal prior probability.
    """

    classes: tuple[str, ...]
    speakers: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray
    fill: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def log_odds(self, features: np.ndarray, speakers: np.ndarray) -> np.ndarray:
        """Unnormalised log posteriors: features (n, features), speaker names (n,) -> (n, classes).

        Raises KeyError for a speaker without a model.
        """
        index = {name: position for position, name in enumerate(self.speakers)}
        rows = np.array([index[name] for name in speakers], dtype=int)
        normal = _normalise(features - self.centre[rows], self.scale, self.fill)
        scores: np.ndarray = np.einsum("nf,ncf->nc", normal, self.weights[rows]) + self.bias[rows]
        return scores


def _normalise(centred: np.ndarray, scale: np.ndarray, fill: np.ndarray) -> np.ndarray:
    normal = np.clip(centred / scale, -CLIP, CLIP)
    return np.where(np.isfinite(normal), normal, fill)


def fit(
    features: np.ndarray,
    emotions: np.ndarray,
    speakers: np.ndarray,
    hyperparameters: Hyperparameters,
) -> Discriminant:
    """Fit to utterances: features (n, features) with NaN where unmeasurable, emotions and speakers (n,).

    Each speaker's features are centred on their neutral mean (on the mean of all they say where no
    neutral utterance exists), so a constant offset of a speaker's voice changes nothing, and divided by
    the standard deviation over all utterances. A speaker's class means are shrunk towards the class
    means over all speakers, in empirical-Bayes fashion; an emotion a speaker lacks is thus expected as in the
    others.
    """
    classes = tuple(sorted(set(emotions)))
    names = tuple(sorted(set(speakers)))
    centre = np.stack(
        [_centre(features[speakers == name], emotions[speakers == name]) for name in names]
    )
    rows = np.searchsorted(names, speakers)
    centred = features - centre[rows]
    columns_known = np.isfinite(centred).any(axis=0)
    centred[:, ~columns_known] = 0.0
    scale = np.maximum(np.nanstd(centred, axis=0), 1e-6)
    fill = np.nanmean(np.clip(centred / scale, -CLIP, CLIP), axis=0)
    normal = _normalise(centred, scale, fill)

    of_class = [emotions == emotion for emotion in classes]
    overall = np.stack([normal[chosen].mean(axis=0) for chosen in of_class])
    scatter, freedom = [], []
    for name in names:
        residuals = [
            normal[cell] - normal[cell].mean(axis=0)
            for cell in (chosen & (speakers == name) for chosen in of_class)
            if cell.any()
        ]
        stacked = np.concatenate(residuals)
        scatter.append(stacked.T @ stacked)
        freedom.append(max(1, len(stacked) - len(residuals)))
    pooled = np.sum(scatter, axis=0) / np.sum(freedom)

    weights = np.empty((len(names), len(classes), features.shape[1]))
    bias = np.empty((len(names), len(classes)))
    for position, name in enumerate(names):
        own = freedom[position]
        covariance = (scatter[position] + COVARIANCE_PRIOR * pooled) / (own + COVARIANCE_PRIOR)
        # The floor matters only where every utterance is alike (a cell of one utterance each).
        variance = max(float(np.trace(covariance)) / len(covariance), 1e-3)
        covariance = (1 - hyperparameters.shrinkage) * covariance
        covariance[np.diag_indices_from(covariance)] += hyperparameters.shrinkage * variance
        prior = hyperparameters.mean_prior
        means = np.stack(
            [
                (normal[chosen & (speakers == name)].sum(axis=0) + prior * overall[index])
                / ((chosen & (speakers == name)).sum() + prior)
                for index, chosen in enumerate(of_class)
            ]
        )
        weights[position] = np.linalg.solve(covariance, means.T).T
        bias[position] = -0.5 * np.einsum("cf,cf->c", weights[position], means)
    return Discriminant(classes, names, centre, scale, fill, weights, bias)


def _centre(features: np.ndarray, emotions: np.ndarray) -> np.ndarray:
    neutral = features[emotions == "neutral"]
    reference = neutral if len(neutral) else features
    known = np.isfinite(reference)
    total = np.where(known, reference, 0.0).sum(axis=0)
    # A feature the speaker's reference never shows stays NaN and is filled like any missing value.
    return np.divide(
        total, known.sum(axis=0), out=np.full(features.shape[1], np.nan), where=known.any(axis=0)
    )


def probabilities(log_odds: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of log odds divided by `temperature`: (n, classes), rows sum to one."""
    scaled = log_odds / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: np.ndarray = scaled / scaled.sum(axis=1, keepdims=True)
    return result


def best_temperature(log_odds: np.ndarray, truth: np.ndarray) -> float:
    """The one of `TEMPERATURES` with the lowest log loss; log odds (n, classes), positions of the truth (n,)."""

    def loss(temperature: float) -> float:
        chosen = probabilities(log_odds, temperature)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    return min(TEMPERATURES, key=loss)
