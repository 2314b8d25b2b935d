"""Made-up people, image tokens and scores for the P-MLLM benchmarks; random, but with something to learn, so that answers differ."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import torch

from beholder.personas.prompts import render
from beholder.personas.questions import Question
from beholder.profile import Profile
from beholder.scorers.pmllm.batches import Batches, PrefixStore
from beholder.scorers.pmllm.example_table import Example, Examples
from beholder.scorers.pmllm.loss import Step
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import Prompter
from beholder.scorers.pmllm.recipes import Training
from beholder.scorers.pmllm.training import train

TOKENS, WIDTH = 49, 1280  # of the default encoder's last map, halved
TELLING = 160  # columns of the tokens that say how good an image is
_WORDS = ("likes hiking", "old films", "quiet music", "strong coffee", "long walks", "clear colours", "city streets", "wide views")


def image_tokens(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """([n, tokens, width] float32, [n] how good each image is, standard normal)."""
    random = np.random.default_rng(seed)
    good = random.standard_normal(n).astype(np.float32)
    found = random.standard_normal((n, TOKENS, WIDTH)).astype(np.float32)
    found[:, :, :TELLING] += 2 * good[:, None, None]
    return found, good


def profile_texts(prompter: Prompter, n: int, *, tokens: int | None = None, seed: int = 0) -> list[str]:
    """n different profiles in the prompter's style; filled up with words, or cut, so that all before the question is about `tokens` long."""
    random, texts = np.random.default_rng(seed), []
    language = prompter.language_model
    for i in range(n):
        traits = random.integers(1, 11, 5).tolist()
        profile = Profile(age=20 + i, gender=["female", "male"][i % 2], openness=traits[0], conscientiousness=traits[1])
        text = render(profile, style=prompter.config.style)
        if tokens is not None:
            room = tokens - len(prompter.prefix("x")) + 1
            filling = itertools.islice(itertools.cycle(_WORDS), tokens)
            text = language.tokenizer.decode(language.encode(f"{text}; {'; '.join(filling)}")[:room])
        texts.append(text)
    return texts


def examples(profiles: list[str], good: np.ndarray, *, question: Question) -> Examples:
    """Every profile's score of every image: better images get more, and some people are milder than others."""
    spread = (question.high - question.low) / 4
    rows = []
    for rater, image in itertools.product(range(len(profiles)), range(len(good))):
        value = (question.low + question.high) / 2 + spread * good[image] + (rater % 3 - 1)
        integer = int(np.clip(round(float(value)), question.low, question.high))
        rows.append(Example("piaa", rater, image, question, question.answered(integer), integer, "ratings"))
    return Examples.of(rows, profiles=profiles)


def taught(model: PMLLM, prompter: Prompter, *, question: Question, steps: int) -> None:
    """Train some steps, so that the model answers in the question's form and tells images apart."""
    tokens, good = image_tokens(64, seed=7)
    profiles = profile_texts(prompter, 8, tokens=60, seed=7)  # short ones do for learning the form of the answer
    batches = Batches(
        examples(profiles, good, question=question),
        prompter=prompter,
        prefixes=PrefixStore(model, prompter),
        features=lambda which: tokens[which],
    )
    config = Training(batch_size=16, steps=steps, learning_rate=2e-3, warmup=5, beta2=0.98, sampling="crossed", raters_per_batch=4)
    train(Step(model, readout=None, config=config), batches, config=config)
    model.eval().requires_grad_(False)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """(seconds, what `work` returned)."""
    start = time.perf_counter()
    found = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, found
