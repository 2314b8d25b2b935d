"""Training data of P-MLLM: (profile, image, question, answer) for three kinds of tasks (arXiv 2604.17233, section 3.2 and appendix A).

1. piaa: scores that raters gave. 2. subjective: what the base LLM itself answers under the profile, the same whatever the image, so that it stays the person
that the profile describes. 3. caption: an objective description, without a profile.

Any two inputs are combined with several values of the third, and the answer changes accordingly: each (image, question) is answered under several profiles,
each (profile, image) has several questions, each (profile, question) several images. Ratios are not in the paper; `ExamplesConfig` has the readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beholder.backbones.reply_cache import ReplyCache
from beholder.errors import BeholderError
from beholder.personas import prompts, questions
from beholder.personas.prompts import LevelFormat, PersonaFormat
from beholder.personas.questions import Question
from beholder.scorers.pmllm.captions import ANSWER_TOKENS, CAPTION_TOKENS, STAND_IN, Answers, Captions, Progress, answers_of, captions_of
from beholder.scorers.pmllm.example_table import NO_INTEGER, NO_RATER, TASKS, Example, Examples, read_jsonl

if TYPE_CHECKING:
    from beholder.backbones.chat import ChatModel
    from beholder.datasets.base import Dataset

__all__ = ["Example", "Examples", "ExamplesConfig", "build", "read_jsonl"]

_COMPANY = 4  # raters that should share an image within a circle, see `_subjective_pairs`


@dataclass(frozen=True)
class ExamplesConfig:
    """What the examples are made of.

    Args:
        family: of the questions for scores: "published", "evaluation" or "short".
        types: of tasks to include.
        n_attributes: questions for attributes per (rater, image) beside the aesthetic one, as far as the dataset has them.
        max_records_per_rater: (rater, image) pairs per rater; images that more raters rated come first (P-MLLM, section 4.1).
        subjective_images: images that each (profile, subjective question) is paired with.
        caption_share: captions make up at most this share of all examples, and at most one for each image.
        answer_tokens, caption_tokens: longest answers asked of the language model and of the captioner.
        seed: of every draw.

    Raises:
        BeholderError: a value makes no sense.
    """

    family: str = "published"
    types: tuple[str, ...] = TASKS
    n_attributes: int = 1
    max_records_per_rater: int = 1000
    subjective_images: int = 10
    caption_share: float = 0.1
    answer_tokens: int = ANSWER_TOKENS
    caption_tokens: int = CAPTION_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        questions.scoring(self.family)  # refuses unknown families
        unknown = [name for name in self.types if name not in TASKS]
        if unknown or not self.types:
            raise BeholderError(f"types = {self.types!r} of training examples: choose from {', '.join(TASKS)}")
        for name, least in (("n_attributes", 0), ("max_records_per_rater", 1), ("subjective_images", 1), ("answer_tokens", 1), ("caption_tokens", 1)):
            if getattr(self, name) < least:
                raise BeholderError(f"{name} = {getattr(self, name)} must be at least {least}")
        if not 0 <= self.caption_share < 1:
            raise BeholderError(f"caption_share = {self.caption_share} must be at least 0 and less than 1")


def build(
    dataset: Dataset,
    *,
    config: ExamplesConfig | None = None,
    style: str | PersonaFormat | LevelFormat = "published",
    llm: Answers | None = None,
    captions: Sequence[str | ChatModel] = ("column", STAND_IN),
    labels: Sequence[Sequence[str]] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Examples:
    """The training examples of a dataset: the same for the same arguments. What was computed before is not computed again, also after a kill.

    Args:
        style: of the profiles, see `beholder.personas.prompts.render`.
        llm: the frozen language model, for the subjective tasks.
        captions: sources in order of choice: "column", a chat model that sees, "stand-in".
        labels: [n_images] class names for the stand-in (`image_facts.top_classes`), or nothing.
        cache: folder of the answers kept; `cache_dir("replies")` if not given.
        progress: called with (done, of how many, of what).

    Raises:
        BeholderError: no ratings, subjective tasks without a language model, an unknown caption source, an endpoint that cannot be reached.
    """
    config = config or ExamplesConfig()
    if not len(dataset.rating_rater):
        raise BeholderError(f"{dataset.name} has no ratings to make training examples of")
    if "subjective" in config.types and llm is None:
        raise BeholderError("the subjective tasks are answered by the base language model: give llm, or leave them out of types")
    kept = ReplyCache(cache)
    profiles = tuple(prompts.render(profile, style=style) for profile in dataset.profiles)
    records = _records(dataset, most=config.max_records_per_rater, seed=config.seed)
    columns = _Columns(dataset)
    if "piaa" in config.types:
        _add_scores(columns, records, config=config)
    if "subjective" in config.types:
        _add_subjective(columns, records, profiles, llm=llm, config=config, cache=kept, progress=progress)
    if "caption" in config.types and config.caption_share > 0:
        images = _caption_images(dataset, records, others=columns.count, config=config)
        found = captions_of(dataset, images, order=captions, cache=kept, labels=labels, max_tokens=config.caption_tokens, progress=progress)
        _add_captions(columns, found, config=config)
    return columns.examples(profiles)


class _Columns:
    """Collects rows of `Examples` in blocks."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.blocks: list[tuple[np.ndarray, ...]] = []
        self.pools: tuple[dict, dict, dict] = ({}, {}, {})  # question, answer, source -> index
        self.notes: list[str] = []

    @property
    def count(self) -> int:
        return sum(len(block[0]) for block in self.blocks)

    def add(self, task: str, *, rater, image, question, answer: Sequence[str], source: Sequence[str] | str, integer=NO_INTEGER) -> None:
        n = len(image)
        names, answers, sources = self.pools
        asked = names.setdefault(question, len(names))
        answered = [answers.setdefault(text, len(answers)) for text in answer]
        came = [sources.setdefault(text, len(sources)) for text in ([source] * n if isinstance(source, str) else source)]
        block = (TASKS.index(task), rater, image, asked, answered, came, integer)
        types = (np.int8, np.int32, np.int32, np.int32, np.int32, np.int32, np.int16)
        self.blocks.append(tuple(np.broadcast_to(np.asarray(x, dtype=t), (n,)) for x, t in zip(block, types, strict=True)))

    def examples(self, profiles: tuple[str, ...]) -> Examples:
        if not self.count:
            raise BeholderError(f"no training example can be made of {self.dataset.name} with these types of tasks")
        columns = (np.concatenate(parts) for parts in zip(*self.blocks, strict=True))
        return Examples(*columns, *(tuple(pool) for pool in self.pools), profiles=profiles, notes=tuple(self.notes))


def _records(dataset: Dataset, *, most: int, seed: int) -> np.ndarray:
    """Indices of the ratings that are used, ascending: per rater up to `most`, images with more raters first, ties by lot."""
    raters, images = dataset.rating_rater, dataset.rating_image
    popularity = np.bincount(images, minlength=len(dataset.images))[images]
    order = np.lexsort((_random(seed, "records").random(len(raters)), -popularity, raters))
    sorted_raters = raters[order]
    starts = np.searchsorted(sorted_raters, sorted_raters, side="left")
    return np.sort(order[np.arange(len(order)) - starts < most])


def _add_scores(columns: _Columns, records: np.ndarray, *, config: ExamplesConfig) -> None:
    dataset = columns.dataset
    _add_question(columns, questions.AESTHETIC, records, dataset.rating_score, dataset.scale, config)
    names = [name for name in questions.attributes() if name in dataset.attributes]
    if not names or not config.n_attributes:
        return
    values = np.stack([dataset.attributes[name][records] for name in names], axis=1)
    chosen = _attributes(dataset.rating_image[records], known=np.isfinite(values), n=config.n_attributes, seed=config.seed)
    for place, name in enumerate(names):
        rows = records[chosen[:, place]]
        _add_question(columns, name, rows, dataset.attributes[name], dataset.attribute_scales[name], config)


def _add_question(columns: _Columns, attribute: str, rows: np.ndarray, scores: np.ndarray, scale, config: ExamplesConfig) -> None:
    dataset = columns.dataset
    question: Question = questions.suited(config.family, attribute, scale=scale)
    integers = questions.to_integer(scores[rows], scale=scale, question=question)
    texts = {int(k): question.answered(int(k)) for k in np.unique(integers)}
    columns.add(
        "piaa",
        rater=dataset.rating_rater[rows],
        image=dataset.rating_image[rows],
        question=question,
        answer=[texts[k] for k in integers.tolist()],
        source="ratings",
        integer=integers,
    )


def _attributes(images: np.ndarray, *, known: np.ndarray, n: int, seed: int) -> np.ndarray:
    """[n_records, n_attributes] bool: the up to `n` attributes that each record is asked for.

    Two raters of an image at a time get the same ones, the next two the next ones in an order drawn for the image: so each question about an image is
    answered under at least two profiles, as far as both gave an answer.
    """
    random = _random(seed, "attributes")
    n_attributes = known.shape[1]
    shuffled = np.lexsort((random.random(len(images)), images))
    sorted_images = images[shuffled]
    first = np.searchsorted(sorted_images, sorted_images, side="left")
    count = np.searchsorted(sorted_images, sorted_images, side="right") - first
    pair = np.minimum((np.arange(len(images)) - first) // 2, np.maximum(count // 2 - 1, 0))  # of three at the end, all share
    turn = np.empty(len(images), dtype=np.int64)
    turn[shuffled] = pair
    distinct, which = np.unique(images, return_inverse=True)
    rank = np.argsort(random.random((len(distinct), n_attributes)), axis=1).argsort(axis=1)
    priority = (rank[which] - turn[:, None] * n) % n_attributes + np.where(known, 0, n_attributes)
    best = np.argsort(priority, axis=1, kind="stable")[:, :n]
    chosen = np.zeros(known.shape, dtype=bool)
    np.put_along_axis(chosen, best, True, axis=1)
    return chosen & known


def _add_subjective(
    columns: _Columns,
    records: np.ndarray,
    profiles: tuple[str, ...],
    *,
    llm: Answers,
    config: ExamplesConfig,
    cache: ReplyCache,
    progress: Progress | None,
) -> None:
    dataset = columns.dataset
    raters = [int(rater) for rater in np.unique(dataset.rating_rater[records]) if profiles[rater]]
    texts = list(dict.fromkeys(profiles[rater] for rater in raters))
    prompted = [(text, question) for text in texts for question in questions.SUBJECTIVE]
    answers = dict(
        zip(prompted, answers_of(llm, prompted, cache=cache, max_new_tokens=config.answer_tokens, progress=progress), strict=True)
    )
    for number, question in enumerate(questions.SUBJECTIVE):
        rater, image = _subjective_pairs(dataset, records, raters, k=config.subjective_images, seed=config.seed, number=number)
        answer = [answers[profiles[r], question] for r in rater.tolist()]
        said = np.array([bool(text) for text in answer], dtype=bool)  # an empty answer teaches nothing
        columns.add(
            "subjective",
            rater=rater[said],
            image=image[said],
            question=question,
            answer=[text for text in answer if text],
            source=f"model {getattr(llm, 'name', 'language model')}",
        )
    silent = sum(not text for text in answers.values())
    if silent:
        columns.notes.append(f"{silent} of {len(answers)} answers of the language model are empty and left out")


def _subjective_pairs(
    dataset: Dataset, records: np.ndarray, raters: Sequence[int], *, k: int, seed: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rater, image) pairs of a subjective question: for each rater up to `k` different images among the own records.

    Raters are put into circles, each with its own random order of all images; a rater takes the first k of the own ones. A circle is so large that its
    raters meet on the same images: then the question is answered under several profiles on each image, and yet every image is used somewhere.
    """
    random = _random(seed, "subjective", number)
    rater, image = dataset.rating_rater[records], dataset.rating_image[records]
    wanted = np.isin(rater, raters)
    rater, image = rater[wanted], image[wanted]
    if not len(rater):
        return rater, image
    density = len(rater) / (len(raters) * len(np.unique(image)))
    n_circles = max(1, int(len(raters) * density / _COMPANY))
    circle_of = np.zeros(len(dataset.raters), dtype=np.int64)
    circle_of[random.permutation(raters)] = np.arange(len(raters)) % n_circles
    place = np.stack([random.permutation(len(dataset.images)) for _ in range(n_circles)])
    order = np.lexsort((place[circle_of[rater], image], rater))
    first = np.searchsorted(rater[order], rater[order], side="left")
    taken = order[np.arange(len(order)) - first < k]
    return rater[taken], image[taken]


def _caption_images(dataset: Dataset, records: np.ndarray, *, others: int, config: ExamplesConfig) -> np.ndarray:
    """The images to be captioned, by lot: as many as the share allows; all if there are no other examples."""
    images = np.unique(dataset.rating_image[records])
    most = round(config.caption_share / (1 - config.caption_share) * others) if others else len(images)
    return np.sort(_random(config.seed, "captions").permutation(images)[:most])


def _add_captions(columns: _Columns, captions: Captions, *, config: ExamplesConfig) -> None:
    question = questions.SHORT_CAPTION if config.family == "short" else questions.CAPTION
    columns.add("caption", rater=NO_RATER, image=captions.images, question=question, answer=captions.texts, source=captions.sources)
    columns.notes.extend(captions.notes)


def _random(seed: int, *what: str | int) -> np.random.Generator:
    """A generator of its own for each purpose: adding one draw changes no other."""
    return np.random.default_rng([seed, *"/".join(map(str, what)).encode()])
