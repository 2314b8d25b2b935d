"""From datasets to arrays: image effects, the ridge they are begun at, principal components, who is kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beholder.datasets.base import Dataset
from beholder.profile import Profile
from beholder.scorers.effects import image_effects
from beholder.scorers.pamela.learned import ImageInputs, hashed
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.text_effects import Learned, learn_text_effects
from beholder.scorers.pamela.texts import Field, learn_fields

ALPHAS = np.logspace(0, 6, 25)  # as for `population`
FEW = 10  # of fewer raters or groups none are kept aside
MANY_IMAGES, FEW_AXES = 4000, 512  # beyond so many images wide features are reduced to so many principal axes before the ridge
ROWS = 4096  # images whose texts are in memory at once
SMALLEST = 1e-4  # components this much smaller than the first are rounding errors


@dataclass(frozen=True)
class Table:
    """Every rating of every dataset, on 0..1; images and raters are numbered through, dataset after dataset.

    Args:
        paths: [images]. profiles: [raters]. names: [raters] uint64.
        image_dataset, rater_dataset: [images], [raters] int. centres: [datasets] mean rating.
        image, rater, score: [ratings].
        effects: [images] what raters of the dataset say of each image on average. left_out: [images] the ridge's guess without the image's group,
            nan in further datasets. fitted: [images] its guess as it is used.
        group: [images] int; groups of different datasets are different. components: [images, p] of the features.
        held_image, held_rater: [images], [raters] bool, kept aside.
        texts: what prompts and metadata add to the ridge's guesses; None: nothing.
    """

    paths: list[str]
    profiles: list[Profile]
    names: np.ndarray
    image_dataset: np.ndarray
    rater_dataset: np.ndarray
    centres: np.ndarray
    image: np.ndarray
    rater: np.ndarray
    score: np.ndarray
    effects: np.ndarray
    left_out: np.ndarray
    fitted: np.ndarray
    group: np.ndarray
    components: np.ndarray
    held_image: np.ndarray
    held_rater: np.ndarray
    fields: tuple[Field, ...]
    inputs: ImageInputs
    texts: Learned | None = None

    @property
    def learned(self) -> np.ndarray:
        """[ratings] bool: of raters and images that are learned from."""
        return ~self.held_rater[self.rater] & ~self.held_image[self.image]


def prepare(datasets: Sequence[Dataset], features: Sequence[np.ndarray], *, options: PamelaOptions) -> Table:
    """All that is computed before the transformer is trained.

    Args:
        datasets: the first is the one whose raters are to be predicted.
        features: [images, d] of each dataset's used images.
    """
    images, raters, rows, centres, effects = [], [], [], [], []
    n_images = n_raters = 0
    for dataset in datasets:
        used, who = dataset.used_images, dataset.used_raters
        image, rater = np.searchsorted(used, dataset.rating_image), np.searchsorted(who, dataset.rating_rater)
        unit = dataset.scale.to_unit(dataset.rating_score)
        means, of_images = image_effects(rater, image, unit, n_raters=len(who), n_images=len(used))
        images.append([(str(dataset.images[i]), f"{len(images)}/{dataset.groups[i]}") for i in used])
        raters.append([(dataset.profiles[u], hashed(f"{dataset.name}/{dataset.raters[u]}")) for u in who])
        rows.append((image + n_images, rater + n_raters, unit))
        centres.append(float(means.mean()))
        effects.append(of_images)
        n_images, n_raters = n_images + len(used), n_raters + len(who)
    groups = np.array([group for _, group in images[0]])
    inputs, components, left_out, fitted = _inputs(features, effects, groups=groups, options=options)
    random = np.random.default_rng([options.seed, 0])
    held_raters = _some(random, np.arange(len(raters[0])), share=options.holdout_raters)
    held_groups = _some(random, np.unique(groups), share=options.holdout)
    held_image, held_rater = np.zeros(n_images, dtype=bool), np.zeros(n_raters, dtype=bool)
    held_image[: len(groups)], held_rater[held_raters] = np.isin(groups, held_groups), True
    profiles = [profile for part in raters for profile, _ in part]
    return Table(
        paths=[path for part in images for path, _ in part],
        profiles=profiles,
        names=np.array([name for part in raters for _, name in part], dtype=np.uint64),
        image_dataset=np.repeat(np.arange(len(images)), [len(part) for part in images]),
        rater_dataset=np.repeat(np.arange(len(raters)), [len(part) for part in raters]),
        centres=np.array(centres),
        image=np.concatenate([part[0] for part in rows]),
        rater=np.concatenate([part[1] for part in rows]),
        score=np.concatenate([part[2] for part in rows]),
        effects=np.concatenate(effects),
        left_out=np.concatenate([left_out, np.full(n_images - len(left_out), np.nan)]),
        fitted=fitted,
        group=np.unique([group for part in images for _, group in part], return_inverse=True)[1],
        components=components,
        held_image=held_image,
        held_rater=held_rater,
        fields=learn_fields(profiles) if options.demographics else (),
        inputs=inputs,
    )


def with_texts(table: Table, words: np.ndarray, texts: np.ndarray) -> Table:
    """The table with guesses that know prompts and metadata, too, if there is a base and if they help. Learned on the first dataset (ours).

    Args:
        words: [t, d] vectors. texts: [images, kinds] rows of `words`, 0: unknown.
    """
    if not table.inputs.has_base:
        return table
    own = np.flatnonzero(table.image_dataset == 0)
    learned = learn_text_effects(words, texts[own], table.effects[own] - table.left_out[own], groups=table.group[own])
    if learned is None:
        return table
    left_out = table.left_out.copy()
    left_out[own] += learned.left_out
    added = [learned.effects(words[some], some > 0) for some in np.array_split(texts, len(texts) // ROWS + 1)]
    return replace(table, left_out=left_out, fitted=table.fitted + np.concatenate(added), texts=learned)


def _inputs(
    features: Sequence[np.ndarray], effects: Sequence[np.ndarray], *, groups: np.ndarray, options: PamelaOptions
) -> tuple[ImageInputs, np.ndarray, np.ndarray, np.ndarray]:
    """(how inputs are made, components, left-out guesses of the first dataset's effects, fitted effects of all)."""
    x = np.concatenate([np.asarray(part, dtype=np.float32) for part in features])
    scaler = StandardScaler().fit(x)
    scale = np.where(scaler.scale_ > 1e-9, scaler.scale_, 1.0)
    pca = PCA(
        min(options.components, len(x) - 1, x.shape[1]), random_state=options.seed, svd_solver="full" if min(x.shape) < 200 else "auto"
    )
    scores = pca.fit_transform(scaler.transform(x))
    sd = np.maximum(scores.std(0), 1e-12)
    keep = sd > SMALLEST * sd[0]
    # Rounded here and now, so that what is saved is what was trained on
    axes = (pca.components_[keep].T / scale[:, None] / np.sqrt(sd[keep] * sd[0])).astype(np.float16).astype(np.float32)
    mean = scaler.mean_.astype(np.float32)
    components = (x - mean) @ axes
    if options.base == "none":
        return (
            ImageInputs(mean, axes, np.zeros(x.shape[1], dtype=np.float32), 0.0, 0.0),
            components,
            np.zeros(len(features[0])),
            np.zeros(len(x)),
        )
    coefficients, intercept = _ridge(features, effects)
    left_out = np.zeros(len(features[0]))
    folds = min(5, len(np.unique(groups)))
    for known, asked in GroupKFold(folds).split(features[0], groups=groups) if folds > 1 else ():
        found = _ridge([features[0][known], *features[1:]], [effects[0][known], *effects[1:]])
        left_out[asked] = features[0][asked] @ found[0] + found[1]
    intercept = float(intercept + mean.astype(np.float64) @ coefficients)  # inputs are centred there
    spread = max(float(np.concatenate(effects).std()), 1e-3)
    inputs = ImageInputs(mean, axes, coefficients.astype(np.float32), intercept, spread)
    return inputs, components, left_out, inputs(x)[1]


def _ridge(features: Sequence[np.ndarray], effects: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Coefficients [d] and intercept: what the further datasets say together, corrected by what the first one says beside that (ours)."""

    def fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        if len(x) < 3:
            return np.zeros(x.shape[1]), float(y.mean())
        if len(x) > MANY_IMAGES and x.shape[1] > FEW_AXES:
            return _ridge_on_axes(x, y)
        pipeline = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(np.asarray(x, dtype=np.float64), y)
        coefficients = pipeline[1].coef_ / pipeline[0].scale_
        return coefficients, float(pipeline[1].intercept_ - pipeline[0].mean_ @ coefficients)

    if len(features) == 1:
        return fit(features[0], effects[0])
    shared, start = fit(np.concatenate(features), np.concatenate(effects))
    own, shift = fit(features[0], effects[0] - np.asarray(features[0], dtype=np.float64) @ shared - start)
    return shared + own, start + shift


def _ridge_on_axes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """The same on the first principal axes of the standardised features: of many images and wide features the whole takes hours and all memory."""
    scaler = StandardScaler().fit(x)
    scale = np.where(scaler.scale_ > 1e-9, scaler.scale_, 1.0)
    axes = PCA(FEW_AXES, svd_solver="randomized", iterated_power=2, random_state=0).fit(scaler.transform(x)).components_.T / scale[:, None]
    mean = scaler.mean_ @ axes
    ridge = RidgeCV(ALPHAS).fit((x @ axes.astype(np.float32)).astype(np.float64) - mean, y)
    coefficients = axes @ ridge.coef_
    return coefficients, float(ridge.intercept_ - mean @ ridge.coef_)


def _some(random: np.random.Generator, values: np.ndarray, *, share: float) -> np.ndarray:
    return random.permutation(values)[: max(1, round(share * len(values))) if share and len(values) >= FEW else 0]
