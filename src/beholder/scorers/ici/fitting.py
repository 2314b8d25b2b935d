"""From a dataset to trained networks: phases 1 and 2, and the width of the intervals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beholder.backbones.torch_encoder import choose_device
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.scorers.base import COVERAGE
from beholder.scorers.checkpoint import Checkpoint, one_thread
from beholder.scorers.ici.backbone import Pixels, open_body
from beholder.scorers.ici.learned import ICIModel
from beholder.scorers.ici.model import FeatureBody, Heads, InteractionGraph, Prior
from beholder.scorers.ici.nodes import ProfileNodes
from beholder.scorers.ici.options import ICIOptions
from beholder.scorers.ici.phases import ImagePhase, RaterPhase
from beholder.scorers.ici.targets import Targets, bin_scores
from beholder.scorers.ici.training import Progress, train

SHOTS = (0, 10, 50)  # numbers of ratings for which the intervals are measured
ENOUGH = 40  # errors that a width is measured on, at least
WIDTH_RATERS = 40  # raters it is measured on, at most


def fit_model(
    dataset: Dataset,
    inputs: np.ndarray | Pixels,
    *,
    options: ICIOptions,
    key: str,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[ICIModel, dict[str, Any]]:
    """Phases 1 and 2.

    Args:
        inputs: of the dataset's used images: features [n, d], or their pixels.
        key: names the features.
        folder: for checkpoints.
        progress: called with (epochs done, epochs in all, what is done now).

    Returns:
        The model, and facts for config.json.

    Raises:
        BeholderError: too little to learn from, and what the steps raise.
    """
    if len(dataset.used_raters) < 2 or len(dataset.used_images) < 5 or len(dataset.rating_score) < 20:
        raise BeholderError(
            f"{dataset.name} has {len(dataset.used_raters)} raters, {len(dataset.used_images)} images and {len(dataset.rating_score)} "
            "ratings to learn from: ici needs at least 2, 5 and 20"
        )
    total = options.generic_epochs + options.prior_epochs
    say = progress or (lambda done, total, text: None)
    device = torch.device(choose_device(options.device))
    other_rater, other_image = _kept_aside(dataset, options=options)
    learned = dataset.rows(~other_rater)
    if options.sees_pixels:
        with _seeded(options.seed):
            key += f"|{open_body(options.backbone)[2]}"
    identity = _identity(dataset, options, key=f"{key}|{device.type}")

    def phase(name: str, module: torch.nn.Module, *, before: int, **arguments: Any) -> dict[str, float | None]:
        def said(done: int, text: str) -> None:
            say(before + done, total + 1, f"ici, {name}: {text}")

        checkpoint = Checkpoint(folder, name=name, identity=identity)
        small = name == "raters" or not options.sees_pixels
        with one_thread(device) if small else nullcontext():
            return train(module, patience=options.patience, checkpoint=checkpoint, say=said, **arguments)

    heads, description, looks, facts = _images(
        dataset, learned, inputs, other_image=other_image, options=options, phase=phase, device=device
    )
    nodes = ProfileNodes() if options.mode == "reduced" else ProfileNodes.learn([dataset.profiles[u] for u in learned.used_raters])
    full = options.mode == "full" or (options.mode == "auto" and bool(nodes.fields))
    k = heads.attributes.out_features
    with _seeded(options.seed + 2):
        graph = InteractionGraph(
            attributes=torch.stack(_mean_sd(looks[:, :k])),
            words=[len(field.words) for field in nodes.choices],
            numbers=len(nodes.numbers),
            bins=torch.from_numpy(bin_scores(dataset.scale)),
            full=full,
        )
        prior = Prior(graph, n_raters=len(learned.used_raters)).to(device)
    raters = RaterPhase(prior, dataset, looks, learned=learned, kept=dataset.rows(other_rater), nodes=nodes, options=options)
    facts["prior"] = phase(
        "raters",
        prior,
        before=options.generic_epochs,
        epochs=options.prior_epochs,
        learning_rate=options.prior_learning_rate,
        losses=raters.losses,
        validate=raters.validate,
    )
    say(total, total + 1, "ici: width of the intervals")
    model = ICIModel(
        heads=heads,
        graph=graph,
        body=description,
        attributes=Targets.of(learned).names,
        nodes=nodes,
        id_mean=prior.ids.mean(0),
        id_sd=prior.ids.std(0, correction=0),
        shots=np.zeros(1),
        widths=np.ones(1),
    )
    with one_thread(device):
        found = _widths(model, dataset, looks, other_rater=other_rater, other_image=other_image, options=options)
    model.shots, model.widths, facts["width_from"] = found
    say(total + 1, total + 1, "done")
    return model, facts


def _images(
    dataset: Dataset,
    learned: Dataset,
    inputs: np.ndarray | Pixels,
    *,
    other_image: np.ndarray,
    options: ICIOptions,
    phase: Callable[..., dict[str, float | None]],
    device: torch.device,
) -> tuple[Heads, dict[str, Any] | None, torch.Tensor, dict[str, Any]]:
    """Phase 1.

    Args:
        learned: the part of the dataset whose raters may be learned from.
        other_image: [n_used_images] bool, those to validate on.
        phase: trains.

    Returns:
        The heads, the description of their body, [n_used_images, k + bins] attributes and distributions (made once for all that follows),
        and facts.
    """
    targets = Targets.of(learned)
    rows = np.searchsorted(dataset.used_images, learned.used_images)
    held, known = np.flatnonzero(other_image[rows]), np.flatnonzero(~other_image[rows])

    def by_place(places: np.ndarray) -> torch.Tensor:
        return inputs(places) if isinstance(inputs, Pixels) else torch.from_numpy(np.asarray(inputs[places], dtype=np.float32))

    description = None
    with _seeded(options.seed):
        if options.sees_pixels:
            body, description, _ = open_body(options.backbone)
        else:
            body = FeatureBody(*_mean_sd(by_place(rows[known])))
        start, shares = (torch.from_numpy(values) for values in targets.means(known))
        heads = Heads(body, start=start, shares=shares).to(device)
    images = ImagePhase(heads, by_place, rows, targets=targets, learned=known, held=held, options=options)
    facts = phase(
        "images",
        heads,
        before=0,
        epochs=options.generic_epochs,
        learning_rate=options.generic_learning_rate,
        losses=images.losses,
        validate=images.validate,
    )
    return heads, description, images.look(np.arange(len(dataset.used_images))), {"generic": facts}


def _widths(
    model: ICIModel, dataset: Dataset, looks: torch.Tensor, *, other_rater: np.ndarray, other_image: np.ndarray, options: ICIOptions
) -> tuple[np.ndarray, np.ndarray, str]:
    """(numbers of ratings, half widths, from what).

    The 90 % quantile of the absolute errors on raters kept aside, of images kept aside, too, if there are enough of them.
    """
    images = np.searchsorted(dataset.used_images, dataset.rating_image)
    source, asked = "measured on raters and images kept aside", other_rater & other_image[images]
    if asked.sum() < ENOUGH:
        source, asked = "measured on raters kept aside", other_rater
    if asked.sum() < ENOUGH:
        source, asked = "measured on the training ratings, as no others were kept aside", np.ones(len(images), dtype=bool)
    unit = dataset.scale.to_unit(dataset.rating_score)
    random = np.random.default_rng([options.seed, 3])
    some = random.permutation(np.unique(dataset.rating_rater[asked]))[:WIDTH_RATERS]
    errors: dict[int, list[np.ndarray]] = {shots: [] for shots in SHOTS}
    for rater in some:
        own = dataset.rating_rater == rater
        query = np.flatnonzero(own & asked)
        given = random.permutation(np.flatnonzero(own & ~asked))
        for shots in SHOTS[: 1 + sum(len(given) >= n for n in SHOTS[1:])]:
            graph = model.graph_for(dataset.profiles[rater], options=options)
            if shots:
                support = given[:shots]
                scores = torch.from_numpy(unit[support].astype(np.float32)).to(model.device)
                graph.adapt(model.split(looks[images[support]]), scores, options=options)
            errors[shots].append(np.abs(np.clip(graph.predict(model.split(looks[images[query]])), 0, 1) - unit[query]))
    enough = {shots: parts for shots, parts in errors.items() if parts and (not shots or sum(map(len, parts)) >= ENOUGH)}
    found = {shots: np.sort(np.concatenate(parts)) for shots, parts in enough.items()}
    widths = [values[min(len(values), int(np.ceil(COVERAGE * (len(values) + 1)))) - 1] for values in found.values()]
    return np.array(list(found), dtype=np.float64), np.array(widths, dtype=np.float64), source


def _kept_aside(dataset: Dataset, *, options: ICIOptions) -> tuple[np.ndarray, np.ndarray]:
    """[n_ratings] bool: of raters kept aside; [n_used_images] bool: images kept aside, whole groups. None of fewer than 10."""
    random = np.random.default_rng([options.seed, 0])

    def some(values: np.ndarray, *, share: float) -> np.ndarray:
        n = max(1, round(share * len(values))) if share and len(values) >= 10 else 0
        return random.permutation(values)[:n]

    raters = some(dataset.used_raters, share=options.holdout_raters)
    of_image = np.array([dataset.groups[image] for image in dataset.used_images])
    groups = some(np.unique(of_image), share=options.holdout)
    return np.isin(dataset.rating_rater, raters), np.isin(of_image, groups)


def _identity(dataset: Dataset, options: ICIOptions, *, key: str) -> str:
    """A hash of everything a training depends on."""
    known = [profile.known() for profile in dataset.profiles]
    named = [dataset.raters, dataset.image_ids, dataset.groups, str(dataset.scale), list(dataset.attributes)]
    text = json.dumps([options.of_training(), key, named, known], default=str)
    digest = hashlib.sha256(text.encode())
    for values in (dataset.rating_rater, dataset.rating_image, dataset.rating_score, *dataset.attributes.values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:24]


def _mean_sd(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[d] mean and standard deviation of the columns; 1 for those that never change."""
    sd = values.std(0, correction=0)
    return values.mean(0), torch.where(sd < 1e-6, 1.0, sd)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers follow from the seed; those of others go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
