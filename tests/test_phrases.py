"""The writer `phrases`: keeps the goal, contradicts nothing in it, and makes use of scores."""

import numpy as np
import pytest

from beholder.steering import phrases
from beholder.steering.base import Judge, Judged, Shown
from beholder.steering.generators.scene_words import CHOICES, SHIFTS, SUBJECTS, mentions
from beholder.steering.generators.scenes import SceneGenerator, attributes, scene_of
from beholder.steering.loop import SteerConfig, steer
from beholder.steering.phrases import PhraseWriter, phrases_of, vocabulary
from beholder.steering.run_folder import RunFolder
from beholder.steering.settings import settings_of


def propose(goal="a harbour", *, n=10, history=(), seed=0, max_words=77):
    return PhraseWriter().propose(goal, n=n, history=history, seed=seed, max_words=max_words).prompts


def as_history(scores):
    return [Shown(prompt, score) for prompt, score in sorted(scores.items(), key=lambda item: -item[1])]


def test_the_same_call_gives_the_same_prompts_and_other_seeds_others():
    history = as_history({"a harbour, at dawn": 0.5, "a harbour, in winter": 0.2})
    assert propose(history=history, seed=3) == propose(history=history, seed=3)
    assert propose(history=history, seed=3) != propose(history=history, seed=4)
    assert propose(seed=3) == propose(seed=3) != propose(seed=4)


def test_prompts_keep_the_goals_words_and_are_all_different():
    for prompts in (propose(n=40), propose(n=40, history=[Shown("a harbour, at dawn", 0.5)])):
        assert len(prompts) == len(set(prompts)) == 40
        assert all(prompt.startswith("a harbour, ") for prompt in prompts)


def test_prompts_already_shown_are_not_proposed_again():
    history = as_history({prompt: 0.1 * i for i, prompt in enumerate(propose(n=10))})
    assert not {one.prompt for one in history} & set(propose(n=60, history=history, seed=5))


@pytest.mark.parametrize("history", [(), (Shown("a harbour, 85mm lens, peaceful, in winter, at dawn", 0.9),)])
@pytest.mark.parametrize("max_words", [4, 7, 20])
def test_no_prompt_is_longer_than_allowed(history, max_words):
    prompts = propose(n=20, history=history, max_words=max_words)
    assert prompts
    assert all(len(prompt.split()) <= max_words for prompt in prompts)


def test_a_goal_that_leaves_no_room_gets_no_variants():
    assert propose("a very long goal of many words", max_words=7) == ()


def test_nothing_contradicts_the_goal():
    for prompt in propose("the sea at night, three boats, in fog", n=60):
        said = [name for name, _ in mentions(prompt)]
        assert said.count("time") == said.count("boats") == said.count("ground") == 1


def test_a_prompt_has_one_phrase_of_a_kind():
    history = as_history(dict.fromkeys(propose(n=10), 0.5))
    for prompt in propose(n=60, history=history, seed=2):
        parts = prompt.split(", ")[1:]
        assert len(phrases_of(prompt, "a harbour")) == len(parts) <= phrases.MOST


def test_the_vocabulary_covers_what_scenes_understands_and_more():
    for name, values in CHOICES.items():
        for value, words in values.items():
            assert set(words[:3]) <= set(vocabulary()[name]), value
    assert all(set(said) <= set(vocabulary()[name]) for name, (said, _) in SUBJECTS.items())
    assert all(set(more[:3] + less[:3]) <= set(vocabulary()[name]) for name, (more, less) in SHIFTS.items())
    every = [phrase for words in vocabulary().values() for phrase in words]
    assert len(every) == len(set(every))
    assert "85mm lens" in every
    proposed = {part for seed in range(60) for prompt in propose("x", n=20, seed=seed) for part in prompt.split(", ")[1:]}
    assert proposed == set(every)


def test_phrases_of_the_vocabulary_mean_one_thing_each():
    for kind, words in vocabulary().items():
        for phrase in words:
            assert {name for name, _ in mentions(phrase)} <= {kind}, phrase


def test_history_written_by_others_is_understood_by_its_commas():
    assert phrases_of("a harbour,  at dawn , something of my own", "a harbour") == {
        "time": "at dawn",
        "own something of my own": "something of my own",
    }
    bred = propose(n=40, history=[Shown("a harbour, glittering scales", 0.9), Shown("another thing", 0.1)])
    assert any("glittering scales" in prompt for prompt in bred)


def test_equal_scores_are_no_trouble():
    assert len(propose(n=10, history=[Shown(f"a harbour, {phrase}", 0.5) for phrase in vocabulary()["time"]])) == 10


def test_scores_are_made_use_of():
    """A planted liking for some phrases: with feedback, the best prompt found is better than without, from the same number of prompts."""
    with_feedback, without = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        worth = {phrase: rng.normal() for words in vocabulary().values() for phrase in words}

        def score(prompt, worth=worth):
            return sum(worth.get(part, 0.0) for part in prompt.split(", "))

        for results, fed_back in ((with_feedback, True), (without, False)):
            found = {}
            for call in range(6):
                best = as_history(found)[:20] if fed_back else ()
                found |= {prompt: score(prompt) for prompt in propose(n=10, history=best, seed=100 * seed + call)}
            results.append(max(found.values()))
    assert sum(a > b for a, b in zip(with_feedback, without, strict=True)) >= 7
    assert np.mean(with_feedback) > np.mean(without) + 2


def test_only_order_of_scores_and_prompts_matter_not_their_level():
    scores = {prompt: 0.1 * i for i, prompt in enumerate(propose(n=10))}
    shifted = {prompt: 3 + 20 * score for prompt, score in scores.items()}
    assert propose(history=as_history(scores), seed=1) == propose(history=as_history(shifted), seed=1)


def test_it_says_that_it_is_an_example():
    assert "example" in PhraseWriter().notes()[0]


SEED = 11


class Planted(Judge):
    """Likes dark, cold, busy scenes: the truth, read from the prompt and seed."""

    name = "planted"

    def judge(self, images, *, prompts, goal):
        found = [attributes(scene_of(prompt, SEED)) for prompt in prompts]
        return [Judged((1 - known["brightness"] + 1 - known["warmth"] + known["complexity"]) / 3) for known in found]


def test_the_loop_with_phrases_and_scenes_climbs_a_planted_taste(tmp_path):
    """Same writer, seeds and number of images: what is fed back must pay, and never lose what the first, equal iteration found."""
    results = {}
    for strategy in ("mils", "random"):
        parts = {
            "writer": PhraseWriter(),
            "generator": SceneGenerator(size=(64, 48)),
            "judge": Planted(),
            "hold_out": None,
            "config": SteerConfig(strategy=strategy, iterations=8, per_iteration=6, seed=SEED),
        }
        run = RunFolder(tmp_path / strategy, settings=settings_of("a view", **parts))
        results[strategy] = steer("a view", run=run, **parts)
    steered, by_chance = results["mils"], results["random"]
    assert steered.counts["images"] == by_chance.counts["images"] == 49
    assert {one.prompt for one in steered.candidates if one.iteration == 1} == {
        one.prompt for one in by_chance.candidates if one.iteration == 1
    }
    assert steered.best.reward >= by_chance.best.reward > by_chance.start.reward

    def late(result):
        return np.mean([one.reward for one in result.candidates if one.iteration > 4])

    assert late(steered) > late(by_chance) + 0.03
