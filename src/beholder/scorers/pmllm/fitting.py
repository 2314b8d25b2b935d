"""From a dataset to a trained P-MLLM: examples, the guide, the training itself, and the width of the intervals."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from beholder.backbones.language_model import load_language_model
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.personas import questions
from beholder.personas.prompts import LevelFormat
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scorers.base import COVERAGE
from beholder.scorers.pmllm.batches import Batches, PrefixStore
from beholder.scorers.pmllm.engine import ScoringEngine
from beholder.scorers.pmllm.examples import ExamplesConfig, build
from beholder.scorers.pmllm.loss import Step
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import Prompter
from beholder.scorers.pmllm.recipes import Recipe
from beholder.scorers.pmllm.training import STATE, train

if TYPE_CHECKING:
    from beholder.scorers.pmllm.scorer import PMLLMScorer

Progress = Callable[[int, int, str], None]
ENOUGH = 40  # ratings that the width of the intervals is measured on, at least


@dataclass
class Fitted:
    """A trained model, the recipe with everything settled, and facts for config.json."""

    model: PMLLM
    recipe: Recipe
    facts: dict[str, Any]


def fit_model(
    dataset: Dataset, *, recipe: Recipe, scorer: PMLLMScorer, folder: Path | None = None, progress: Progress | None = None
) -> Fitted:
    """Train on a dataset.

    Args:
        recipe: see there.
        scorer: its features and options (device, type of numbers) are used.
        folder: for checkpoints and log.
        progress: called with (done, of how many, what).

    Raises:
        BeholderError: too few ratings, or what the steps raise.
    """
    say = progress or (lambda done, total, what: None)
    if not len(dataset.rating_score):
        raise BeholderError(f"{dataset.name} has no ratings to learn from")
    learned, kept = held_out(dataset, share=recipe.holdout, seed=recipe.training.seed)
    if recipe.prompt.persona == "levels":
        recipe = recipe.changed(cuts=LevelFormat.fit([dataset.profiles[i] for i in learned.used_raters]).cuts)
    language = load_language_model(recipe.language_model, dtype=scorer.options.dtype, device=scorer.options.device)
    prompter = Prompter(language, config=recipe.prompt, mask_from=recipe.fusion.mask_from)
    examples = build(
        learned,
        config=ExamplesConfig(
            family=recipe.prompt.question,
            types=recipe.tasks,
            n_attributes=recipe.n_attributes,
            max_records_per_rater=recipe.max_records_per_rater,
            subjective_images=recipe.subjective_images,
            caption_share=recipe.caption_share,
            seed=recipe.training.seed,
        ),
        style=recipe.prompt.style,
        llm=language if "subjective" in recipe.tasks else None,
        captions=_captioners(recipe.captions),
        progress=say,
    )
    for note in (examples.summary(), *examples.notes):
        say(0, 1, note)
    identity = _identity(learned, recipe, features=scorer.features.key, language=language.revision)
    target = _guide(learned, recipe=recipe, prompter=prompter, folder=folder, identity=identity, progress=say)

    torch.manual_seed(recipe.training.seed)
    model = PMLLM(language, image_width=scorer.token_width, config=recipe.fusion)
    expects = bool(recipe.training.expectation or recipe.training.contrast)
    paths = [os.fspath(image) for image in dataset.images]
    batches = Batches(
        examples,
        prompter=prompter,
        prefixes=PrefixStore(model, prompter, room=256, together=1),
        features=lambda images: scorer.tokens([paths[i] for i in images]),
        expects=expects,
        guide=target,
        share=recipe.training.guide,
        dropout=recipe.training.token_dropout,
    )
    readout = prompter.readout(prompter.question(asked=False)) if expects else None
    begun = f"going on from the checkpoint in {folder}" if folder is not None and (folder / STATE).exists() else "beginning"
    say(0, 1, f"training P-MLLM: {begun}; a line every {recipe.training.log_every} steps")
    log = train(
        Step(model, readout=readout, config=recipe.training),
        batches,
        config=recipe.training,
        folder=folder,
        identity=identity,
        progress=progress,
    )
    # scores are those of the numbers that are saved, before and after saving
    model.load_trained({name: tensor.to(torch.float16) for name, tensor in model.trained_state().items()})
    model.eval().requires_grad_(False)
    half = half_width(kept, model=model, prompter=prompter, scorer=scorer)
    facts = {"half_width": half, "steps": log[-1]["step"] if log else 0, "examples": examples.summary(), "notes": list(examples.notes)}
    return Fitted(model, recipe, facts)


def held_out(dataset: Dataset, *, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(ratings to learn from, ratings to measure errors on): some raters and some image groups are kept aside, and meet only there.

    Raters are taken at equal steps along the spread of their ratings, groups along their mean rating, so that the few kept aside are like the rest.
    Where that leaves too few ratings, errors are measured on what is learned from: the intervals are then somewhat too narrow.
    """
    random = np.random.default_rng([seed, 8])
    score, rater = dataset.rating_score, dataset.rating_rater
    _, group = np.unique(np.array(dataset.groups, dtype=str)[dataset.rating_image], return_inverse=True)
    means = np.bincount(group, score) / np.bincount(group)
    groups = _evenly(means, share=share, random=random)
    raters = dataset.used_raters
    spreads = np.array([score[rater == one].std() for one in raters])
    other_rater, other_group = np.isin(rater, raters[_evenly(spreads, share=share, random=random)]), np.isin(group, groups)
    if (other_rater & other_group).sum() < ENOUGH:
        return dataset, dataset
    return dataset.rows(~other_rater & ~other_group), dataset.rows(other_rater & other_group)


def _evenly(values: np.ndarray, *, share: float, random: np.random.Generator) -> np.ndarray:
    """Positions of a share of the values, at equal steps of their order from a random start."""
    n = round(share * len(values))
    return np.argsort(values, kind="stable")[((np.arange(n) + random.random()) * len(values) / max(n, 1)).astype(int)]


def half_width(ratings: Dataset, *, model: PMLLM, prompter: Prompter, scorer: PMLLMScorer) -> float:
    """Half the width of the 90 % intervals, on the question's scale: the quantile of the absolute errors on these ratings."""
    engine = ScoringEngine(model, prompter, question=prompter.question())
    errors = []
    rows = np.random.default_rng(9).permutation(len(ratings.rating_score))[:2000]
    question = engine.question
    truth = ratings.rating_score[rows]
    slope = np.diff(questions.from_integer([0.0, 1.0], scale=ratings.scale, question=question))[0]
    used, where = np.unique(ratings.rating_image[rows], return_inverse=True)
    features = scorer.tokens([os.fspath(ratings.images[i]) for i in used])
    for rater in np.unique(ratings.rating_rater[rows]):
        own = np.flatnonzero(ratings.rating_rater[rows] == rater)
        (found,) = engine.score([(prompter.profile_text(ratings.profiles[rater]), where[own])], features)
        value = found.expected if scorer.options.read == "expected" else found.integer
        errors.append(np.abs(questions.from_integer(value, scale=ratings.scale, question=question) - truth[own]) / slope)
    errors = np.sort(np.concatenate(errors))
    return float(errors[min(len(errors) - 1, int(np.ceil(COVERAGE * (len(errors) + 1))) - 1)])


def _guide(
    learned: Dataset, *, recipe: Recipe, prompter: Prompter, folder: Path | None, identity: str, progress: Progress
) -> np.ndarray | None:
    """[n_raters, n_images] zero-shot answers of the guide on the trained question's scale, nan where nobody asks; None without a guide."""
    if not recipe.training.guide:
        return None
    path = folder / "guide.npz" if folder is not None else None
    if path is not None and path.exists():
        try:
            with np.load(path) as kept:
                if str(kept["identity"]) == identity:
                    return kept["target"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # cut short: made again
    from beholder import scorers
    from beholder.engine.source import Features

    name = recipe.training.guide_scorer
    if getattr(scorers.scorer_class(name), "token_scorer", False):
        raise BeholderError(f"guide_scorer = {name} would need a guide itself: choose taste or population")
    progress(0, 1, f"the guide {name} learns from the same ratings")
    features = Features(scorers.encoder_for([name], encoder="efficientnet-lite0"), layers=scorers.feature_layers(name, encoder="efficientnet-lite0"))
    guide = scorers.make(name, features=features, trained=False).fit(learned)
    question = prompter.question(asked=False)
    images = [os.fspath(learned.images[i]) for i in learned.used_images]
    target = np.full((len(learned.raters), len(learned.images)), np.nan, dtype=np.float32)
    requests = [(images, Rater(profile=learned.profiles[i], ratings=Ratings(scale=learned.scale))) for i in learned.used_raters]
    low, high = questions.from_integer([0.0, 1.0], scale=learned.scale, question=question)
    for rater, predictions in zip(learned.used_raters, guide.predict_many(requests), strict=True):
        target[rater, learned.used_images] = (predictions.score - low) / (high - low)
    if path is not None:
        partial = path.with_name(f".guide.{os.getpid()}.partial.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, target=target, identity=identity)
        os.replace(partial, path)
    return target


def _captioners(names: tuple[str, ...]) -> list[Any]:
    """Names of caption sources -> what `examples.build` takes; a name that is no known word is a model that sees."""
    found: list[Any] = []
    for name in names:
        if name in ("column", "stand-in"):
            found.append(name)
        else:
            from beholder.backbones.chat import open_chat_model

            found.append(open_chat_model(name))
    return found


def _identity(dataset: Dataset, recipe: Recipe, *, features: str, language: str) -> str:
    """A hash of everything a training depends on."""
    text = json.dumps([asdict(recipe), features, language, dataset.raters, dataset.image_ids, str(dataset.scale)], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for values in (dataset.rating_rater, dataset.rating_image, dataset.rating_score):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(json.dumps([profile.known() for profile in dataset.profiles], default=str).encode())
    return digest.hexdigest()[:24]
