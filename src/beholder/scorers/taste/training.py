"""Learning the taste model from many raters, by empirical Bayes; minutes on two cores for 600 raters x 160 ratings.

    beholder train taste --data DIR --out DIR

1. Split ratings into rater means and image effects; learn looks (principal components per feature block).
2. Crowd: kernel weights by maximum likelihood on the image effects.
3. Own taste: variances of severity, trust, kernels and noise by maximum likelihood over raters, on what the crowd leaves.
4. Axes: the covariance along principal axes of the looks by expectation maximisation over raters.
5. Profile: ridge regression of what is left on profile x axes; strength chosen on held-out raters.
6. Grid: how often raters have stronger own taste, more trust, more noise (expectation maximisation on their evidences).
7. Width of the interval: steps 1 to 6 on parts of the data, measured on the raters and image groups left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.scorers.effects import image_effects
from beholder.scorers.profile_features import ProfileEncoder
from beholder.scorers.taste import crowd as crowds
from beholder.scorers.taste.calibration import measure_widths
from beholder.scorers.taste.kernels import Projection
from beholder.scorers.taste.model import TasteModel
from beholder.scorers.taste.posterior import Evidence, fit
from beholder.scorers.taste.variances import fit_variances

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TasteConfig:
    """How to learn.

    Args:
        components: principal components kept per feature block.
        max_landmarks: images the crowd is anchored on at most; cost grows with its cube.
        max_raters, max_ratings: raters, and ratings of each, used for fitting variances (steps 3, 4, 6).
        axes: directions along which raters may differ.
        share_kernels, share_axes: how much of the kernels' and of the axes' covariance is kept; both explain own taste, each was
            fitted as if almost alone. Chosen on held-out raters (docs/decisions.md).
        own_factors, trust_factors, noise_factors: the grid.
        shots: numbers of ratings for which the interval's width is measured.
        width_folds, width_raters: in how many parts, and on how many raters left out of each.
        seed: of the random choices above.
    """

    components: int = 96
    max_landmarks: int = 1000
    max_raters: int = 150
    max_ratings: int = 90
    axes: int = 24
    share_kernels: float = 0.7
    share_axes: float = 0.6
    own_factors: tuple[float, ...] = (0.3, 1.0, 3.0)
    trust_factors: tuple[float, ...] = (1.0, 8.0)
    noise_factors: tuple[float, ...] = (0.35, 0.65, 1.0, 1.7, 3.0)
    shots: tuple[int, ...] = (0, 5, 10, 20, 50, 100)
    width_folds: int = 5
    width_raters: int = 50
    seed: int = 0


@dataclass(frozen=True)
class _Table:
    """Training ratings in standardised units: image rows, values and profile codes by rater."""

    images: list[np.ndarray]
    values: list[np.ndarray]
    profiles: list


def learn(
    train: Dataset, features: np.ndarray, *, layers: dict[str, int], config: TasteConfig, progress: Progress | None = None
) -> TasteModel:
    """Learn everything.

    Args:
        train: only rows that may be used.
        features: [n, d] of `train.used_images`, in that order.
        layers: feature layer -> width, in order of the columns.
        progress: called with (steps done, steps in all, what is done now).

    Raises:
        BeholderError: too few raters or images to learn from.
    """
    say = progress or (lambda done, total, text: None)
    model = _learn(train, features, layers=layers, config=config, say=say)

    def part(rows: np.ndarray) -> tuple[Dataset, TasteModel]:
        kept = train.rows(rows)
        known = features[np.searchsorted(train.used_images, kept.used_images)]
        return kept, _learn(kept, known, layers=layers, config=config, say=lambda done, total, text: None)

    say(6, 7, "width of the intervals")
    model = replace(model, widths=measure_widths(train, features, learn=part, config=config))
    say(7, 7, "done")
    return model


def _learn(train: Dataset, features: np.ndarray, *, layers: dict[str, int], config: TasteConfig, say: Progress) -> TasteModel:
    """Steps 1 to 6."""
    raters, images = train.used_raters, train.used_images
    if len(raters) < 3 or len(images) < 10 or len(train.rating_score) < 50:
        raise BeholderError(
            f"{train.name} has {len(train.rating_score)} ratings by {len(raters)} raters of {len(images)} images to learn from: "
            "taste needs at least 50 by 3 of 10"
        )
    rng = np.random.default_rng(config.seed)
    say(0, 7, "looks")
    unit = train.scale.to_unit(train.rating_score)
    spread = max(float(unit.std()), 1e-3)
    row = np.searchsorted(images, train.rating_image)
    who = np.searchsorted(raters, train.rating_rater)
    means, effects = image_effects(who, row, unit, n_raters=len(raters), n_images=len(images))
    centre = float(means.mean())
    effects = effects / spread
    values = (unit - centre) / spread
    within = float(np.var(values - (means[who] - centre) / spread - effects[row]))
    noise = max(within, 1e-3) / np.bincount(row, minlength=len(images))
    order = [np.flatnonzero(who == u) for u in range(len(raters))]
    table = _Table([row[o] for o in order], [values[o] for o in order], [train.profiles[u] for u in raters])
    projection = Projection.learn(features, layers=layers, components=config.components)
    looks = projection(features)

    say(1, 7, "what people in general like")
    landmarks = np.sort(rng.permutation(len(images))[: config.max_landmarks])
    at = looks[landmarks]
    weights, own = crowds.fit_weights(projection.kernels(at, at), effects[landmarks], noise[landmarks])
    crowd = crowds.condition(projection, looks, effects, noise, weights=weights, own=own, landmarks=landmarks)
    truth = _smoothed(crowd.mean(crowd.cross(projection, looks)), effects, noise, own)

    say(2, 7, "how much raters differ")
    some = _subset(table, config=config, rng=rng)
    severity, trust, own_weights, rating_noise = _fit_own(projection, looks, truth, some)

    say(3, 7, "along which axes they differ")
    axes_mean, axes = _principal_axes(looks, config.axes)

    def others(i: np.ndarray) -> np.ndarray:
        own_part = projection.kernel(looks[i], looks[i], weights=config.share_kernels * own_weights)
        return severity + trust * np.outer(truth[i], truth[i]) + own_part

    along = _fit_along(
        others,
        (looks - axes_mean) @ axes,
        truth,
        _subset(table, config=replace(config, max_raters=2 * config.max_raters), rng=rng),
        rating_noise,
    )

    say(4, 7, "what profiles tell")
    encoder = ProfileEncoder.learn(table.profiles)
    unexplained = rating_noise + float(projection.variance(looks, weights=own_weights).mean())

    profile_weights = _fit_profile(encoder, table, truth, (looks - axes_mean) @ axes, severity=severity, noise=unexplained)

    model = TasteModel(
        layers=layers,
        centre=centre,
        spread=spread,
        projection=projection,
        crowd=crowd,
        severity=severity,
        trust=trust,
        own=config.share_kernels * own_weights,
        noise=rating_noise,
        axes_mean=axes_mean,
        axes=axes,
        along=config.share_axes * along,
        encoder=encoder,
        profile_weights=profile_weights,
        settings=np.array(list(itertools.product(config.own_factors, config.trust_factors, config.noise_factors))),
        log_prior=np.zeros(len(config.own_factors) * len(config.trust_factors) * len(config.noise_factors)),
        shots=np.array(config.shots),
        widths=np.ones(len(config.shots)),
    )
    say(5, 7, "how raters vary in trust and noise")
    return replace(model, log_prior=_fit_grid(model, looks, truth, some))


def _smoothed(mean: np.ndarray, effects: np.ndarray, noise: np.ndarray, own: float) -> np.ndarray:
    """Image effects with their sampling noise shrunk towards what looks say: the best guess at the shared taste itself."""
    return mean + own / (own + noise) * (effects - mean)


def _subset(table: _Table, *, config: TasteConfig, rng: np.random.Generator) -> _Table:
    chosen = [u for u in rng.permutation(len(table.images)) if len(table.images[u]) >= 2][: config.max_raters]
    parts = [rng.permutation(len(table.images[u]))[: config.max_ratings] for u in chosen]
    return _Table(
        [table.images[u][p] for u, p in zip(chosen, parts, strict=True)],
        [table.values[u][p] for u, p in zip(chosen, parts, strict=True)],
        [table.profiles[u] for u in chosen],
    )


def _fit_own(projection: Projection, looks: np.ndarray, truth: np.ndarray, some: _Table) -> tuple[float, float, np.ndarray, float]:
    """Variances of severity, trust, own taste by kernel, and noise."""

    def kernels(i: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((1, len(i), len(i))), np.outer(truth[i], truth[i])[None], projection.kernels(looks[i], looks[i])])

    data = [(i, v - truth[i]) for i, v in zip(some.images, some.values, strict=True)]
    left = float(np.mean([np.var(v) for _, v in data]))
    n_kernels = 2 * len(projection.blocks)
    start = np.concatenate([[0.2, 0.1], np.full(n_kernels, 0.4 * left / n_kernels), [0.4 * left]])
    weights = fit_variances(kernels, data, start=np.maximum(start, 1e-6), iterations=30)
    return float(weights[0]), float(weights[1]), weights[2:-1], float(weights[-1])


def _principal_axes(looks: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    mean = looks.mean(axis=0)
    _, singular, axes = np.linalg.svd(looks - mean, full_matrices=False)
    keep = min(count, int((singular > 1e-6 * singular[0]).sum()))
    return mean, axes[:keep].T * (np.sqrt(len(looks)) / singular[:keep])


def _fit_along(
    others: Callable[[np.ndarray], np.ndarray], axes: np.ndarray, truth: np.ndarray, some: _Table, noise: float, *, rounds: int = 12
) -> np.ndarray:
    """Covariance [k, k] of the raters' weights on the axes, by expectation maximisation (random-effects regression).

    Args:
        others: indices of images -> their prior covariance without the axes.
    """
    k = axes.shape[1]
    statistics = []
    for i, v in zip(some.images, some.values, strict=True):
        total = others(i) + noise * np.eye(len(i))
        solved = np.linalg.solve(total, axes[i])
        statistics.append((axes[i].T @ solved, solved.T @ (v - truth[i])))
    along = np.eye(k) * 0.02
    prior = 5.0  # raters' worth of belief that the axes are alike and independent
    for _ in range(rounds):
        inverse = np.linalg.inv(along + 1e-9 * np.eye(k))
        total = np.zeros((k, k))
        for precision, pull in statistics:
            spread = np.linalg.inv(precision + inverse)
            mean = spread @ pull
            total += spread + np.outer(mean, mean)
        along = (total + prior * np.eye(k) * np.trace(total) / (len(statistics) * k)) / (len(statistics) + prior)
    return along


def _fit_profile(
    encoder: ProfileEncoder, table: _Table, truth: np.ndarray, axes: np.ndarray, *, severity: float, noise: float
) -> np.ndarray:
    """Ridge weights [d, 1 + k] of profile x (constant, axes); the penalty with the best likelihood on held-out raters."""
    d, k = encoder.dim, axes.shape[1]
    if d == 0:
        return np.zeros((0, 1 + k))
    design = np.column_stack([np.ones(len(axes)), axes])
    size = d * (1 + k)
    parts = []
    for i, v, profile in zip(table.images, table.values, table.profiles, strict=True):
        code = encoder(profile)
        x, e = design[i], v - truth[i]
        # Ratings of one rater share its severity: inverse of noise I + severity 11' by the matrix inversion lemma.
        down = severity / (noise + len(i) * severity)
        wx = (x - down * x.sum(axis=0)) / noise
        parts.append((np.kron(np.outer(code, code), x.T @ wx), np.kron(code, wx.T @ e)))
    fold = np.arange(len(parts)) % 4
    totals = [(sum(parts[j][0] for j in np.flatnonzero(fold == f)), sum(parts[j][1] for j in np.flatnonzero(fold == f))) for f in range(4)]
    gram, pull = sum(t[0] for t in totals), sum(t[1] for t in totals)

    def held_out_loss(penalty: float) -> float:
        loss = 0.0
        for part_gram, part_pull in totals:
            w = np.linalg.solve(gram - part_gram + penalty * np.eye(size), pull - part_pull)
            loss += 0.5 * w @ part_gram @ w - w @ part_pull
        return loss

    penalties = 10.0 ** np.arange(1.0, 6.5, 0.5) * np.trace(gram) / size / 1e3
    best = min(penalties, key=held_out_loss)
    if held_out_loss(best) >= 0:  # profiles tell nothing that holds for other raters
        return np.zeros((d, 1 + k))
    return np.linalg.solve(gram + best * np.eye(size), pull).reshape(d, 1 + k)


def _fit_grid(model: TasteModel, looks: np.ndarray, truth: np.ndarray, some: _Table) -> np.ndarray:
    """Log prior [g] of the settings: how often raters are of each kind, by expectation maximisation on their evidences."""
    axes = (looks - model.axes_mean) @ model.axes
    log_evidence = []
    for i, v in zip(some.images, some.values, strict=True):
        i, v = i[:60], v[:60]
        evidence = Evidence.of_ratings(v - truth[i])
        own = model.projection.kernel(looks[i], looks[i], weights=model.own) + (axes[i] @ model.along) @ axes[i].T
        trust = model.trust * np.outer(truth[i], truth[i])
        log_evidence.append(
            [fit(s[0] * own + s[1] * trust + model.severity, evidence, noise=model.noise * s[2]).log_evidence for s in model.settings]
        )
    log_evidence = np.array(log_evidence)
    prior = np.full(len(model.settings), 1 / len(model.settings))
    for _ in range(30):
        share = log_evidence + np.log(prior)
        share = np.exp(share - logsumexp(share, axis=1, keepdims=True))
        prior = (share.sum(axis=0) + 0.5) / (len(share) + 0.5 * len(prior))  # never zero: another world may need it
    return np.log(prior)
