"""The reflective strategy on a planted problem: it climbs, keeps to budget and guards, writes no files, prints nothing, and is replayed exactly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gepa")

from beholder.errors import BeholderError, MissingExtra
from beholder.steering.base import CallFailed, Judged
from beholder.steering.loop import SteerConfig, steer
from beholder.steering.run_folder import RunFolder
from beholder.steering.settings import settings_of
from beholder.steering.strategies import open_strategy, reflective
from beholder.steering.trial import Candidate
from command_line import refused
from steering_fakes import BAD, GOAL, GOOD, CallBook, ColourJudge, WordGenerator, WordWriter, digest

CONFIG = {"strategy": "reflect", "iterations": 5, "per_iteration": 6, "seed": 3, "tries": 2}


class Reflector(WordWriter):
    """Rewrites the prompt it is shown by adding a word that no rated prompt has yet; follows what it is told by going on from the best one."""

    def __init__(self, book=None, *, answers=lambda number, text: None):
        super().__init__(book)
        self.answers, self.texts = answers, []

    def complete(self, text, *, seed):
        self.book.note(f"complete {seed} {digest(text)}")
        self.texts.append(text)
        scripted = self.answers(len(self.texts), text)
        if scripted is not None:
            if isinstance(scripted, CallFailed):
                raise scripted
            return scripted
        parent = re.search(r"The prompt to improve: (.*)", text)[1]
        rated = [(float(score), prompt) for score, prompt in re.findall(r"^(-?\d\.\d{3}): (.*)$", text, re.MULTILINE)]
        best = max(rated, default=(0.0, parent))[1]
        free = [word for word in [*GOOD, *BAD] if word not in best.split()]
        return f"The better ones are good.\n\nPROMPT: {best} {free[digest(text, seed) % len(free)]}"


def steered(folder, writer, *, judge=None, generator=None, goal=GOAL, **changes):
    config = SteerConfig(**CONFIG | changes)
    generator, judge = generator or WordGenerator(), judge or ColourJudge()
    settings = settings_of(goal, writer=writer, generator=generator, judge=judge, config=config)
    run = RunFolder(folder, settings=settings)
    try:
        return steer(goal, writer=writer, generator=generator, judge=judge, hold_out=None, config=config, run=run, backoff=0.0)
    finally:
        run.close()


def reflections(folder):
    run = RunFolder.open(folder)
    return run.events("reflection")


def test_it_climbs_on_a_planted_function_and_keeps_to_its_number_of_prompts(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = CallBook()
    result = steered(tmp_path / "run", Reflector(book), generator=WordGenerator(book))
    assert len(set(result.best.prompt.split()) & set(GOOD)) >= 4 and result.best.reward > result.start.reward + 0.3
    assert len(book.answered("image")) == 31 and len(result.candidates) == 31
    assert {one.iteration for one in result.candidates} == set(range(6))
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not [path for path in (tmp_path / "run").rglob("*") if "gepa" in path.name or "candidate_tree" in path.name]


def test_it_is_told_what_the_reward_is_made_of_and_the_best_ones(tmp_path):
    class Drifting(ColourJudge):
        def judge(self, images, *, prompts, goal):
            found = super().judge(images, prompts=prompts, goal=goal)
            parts = [{"rater Ann": 0.25, "rater Bo": 0.75, "drift": -0.125} for _ in found]
            return [Judged(one.reward, parts=part) for one, part in zip(found, parts, strict=True)]

    writer = Reflector()
    steered(tmp_path / "run", writer, judge=Drifting(), iterations=1)
    first, last = writer.texts[0], writer.texts[-1]
    assert f"Goal: {GOAL}" in first and f"The prompt to improve: {GOAL}\n" in first
    assert "- rater 1: 0.250" in first and "- rater 2: 0.750" in first and "Ann" not in first and "something else than the goal (drift): 0.125" in first
    scores = [float(score) for score in re.findall(r"^(-?\d\.\d{3}): ", last, re.MULTILINE)]
    assert len(scores) == 6 and scores == sorted(scores, reverse=True)


def test_its_parents_are_favourites_of_raters_not_only_the_best_on_average(tmp_path):
    class Two(ColourJudge):
        """Ann likes good words; Bo likes the goal as it is."""

        def judge(self, images, *, prompts, goal):
            found = super().judge(images, prompts=prompts, goal=goal)
            return [
                Judged(one.reward, parts={"rater Ann": one.reward, "rater Bo": 1.0 if prompt == goal else 0.0})
                for one, prompt in zip(found, prompts, strict=True)
            ]

    writer = Reflector()
    steered(tmp_path / "run", writer, judge=Two())
    parents = [re.search(r"The prompt to improve: (.*)", text)[1] for text in writer.texts]
    assert GOAL in parents[8:] and set(parents[8:]) != {GOAL}


def test_the_budget_counts_images(tmp_path):
    book = CallBook()
    steered(tmp_path / "run", Reflector(book), generator=WordGenerator(book), images_per_prompt=2, budget=9)
    assert len(book.answered("image")) == 8  # the goal and three prompts with two each; nothing is left for a fifth


def test_guards_apply_and_are_told(tmp_path):
    def answers(number, text):
        return {1: "PROMPT: A cat!", 2: f"PROMPT: {' '.join(GOOD * 7)}", 3: "PROMPT: ", 4: "I have no idea what to write."}.get(number)

    writer = Reflector(answers=answers)
    result = steered(tmp_path / "run", writer, iterations=1, per_iteration=4)
    assert result.counts["duplicates"] == 1 and result.counts["too_long"] == 1
    assert "could not be used" not in writer.texts[0] and "made no image: A cat!" in writer.texts[1] and "good0 good1" in writer.texts[2]
    assert max(len(one.prompt.split()) for one in result.candidates) <= 77 and len(result.candidates) >= 5


def test_a_writer_with_nothing_new_is_left_after_a_while(tmp_path):
    writer = Reflector(answers=lambda number, text: f"PROMPT: {GOAL}")
    result = steered(tmp_path / "run", writer)
    assert len(writer.texts) == reflective.BARREN and result.best.prompt == GOAL


def test_a_refusal_costs_one_reflection_and_failures_are_tried_again(tmp_path):
    def answers(number, text):
        return {1: CallFailed("no", kind="refused"), 3: CallFailed("oops", kind="failed")}.get(number)

    result = steered(tmp_path / "run", Reflector(answers=answers), iterations=1)
    assert len(result.candidates) == 7 and result.counts["writer_refused"] == 1 and result.counts["writer_failed"] == 1
    assert [event["attempt"] for event in reflections(tmp_path / "run")][:4] == [1, 1, 1, 2]


def test_an_image_that_fails_is_below_everything(tmp_path):
    generator = WordGenerator(failing=lambda prompt, seed: ("refused",) if any(word in prompt for word in GOOD[:6]) else ())
    result = steered(tmp_path / "run", Reflector(), generator=generator)
    assert result.counts["refused"] > 0 and not any(word in one.prompt.split() for one in result.candidates for word in GOOD[:6])


def test_it_goes_on_where_nobody_answered_and_asks_nothing_twice(tmp_path):
    undisturbed, book = Reflector(), CallBook()
    whole = steered(tmp_path / "whole", undisturbed)
    stopping = Reflector(book, answers=lambda number, text: CallFailed("gone", kind="unreachable") if number == 9 else None)
    with pytest.raises(BeholderError, match="cannot be reached"):
        steered(tmp_path / "run", stopping, generator=WordGenerator(book))
    result = steered(tmp_path / "run", Reflector(book), generator=WordGenerator(book))
    assert [one.prompt for one in result.candidates] == [one.prompt for one in whole.candidates]
    assert max(book.answered("image").values()) == 1
    assert sum(book.answered("complete").values()) == len(undisturbed.texts) + 1  # one of them without an answer
    again = Reflector()
    steered(tmp_path / "run", again)
    assert again.texts == []


def test_another_process_takes_the_same_steps(tmp_path):
    code = (
        "import json, sys; from pathlib import Path; from test_reflective import Reflector, steered\n"
        "print(json.dumps([one.prompt for one in steered(Path(sys.argv[1]), Reflector()).candidates]))"
    )
    found = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": seed}
        made = subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], capture_output=True, text=True, env=environment)
        assert made.returncode == 0, made.stderr
        found.append(json.loads(made.stdout))
    assert found[0] == found[1] == [one.prompt for one in steered(tmp_path / "here", Reflector()).candidates]


def test_errors_come_through_gepa(tmp_path):
    class Mute(WordWriter):
        complete = WordWriter.__mro__[1].complete

    refused(lambda: steered(tmp_path / "mute", Mute()), "words", "--strategy mils")

    class Broken(ColourJudge):
        def judge(self, images, *, prompts, goal):
            if prompts != [GOAL]:
                raise ZeroDivisionError("in the judge")
            return super().judge(images, prompts=prompts, goal=goal)

    with pytest.raises(ZeroDivisionError):
        steered(tmp_path / "broken", Reflector(), judge=Broken())


def test_a_goal_without_a_reward_is_no_obstacle():
    class Planted:
        """The least that a strategy needs of a trial."""

        start = Candidate(GOAL, 0, float("nan"), float("nan"), ())
        images_left = 5

        def __init__(self):
            self.writer, self.tried = Reflector(), []

        def complete(self, text, call):
            return self.writer.complete(text, seed=call)

        def try_out(self, prompts, iteration):
            self.images_left -= len(prompts)
            self.tried += prompts
            return [Candidate(prompt, iteration, len(set(prompt.split()) & set(GOOD)) / 12, float("nan"), ()) for prompt in prompts]

    trial = Planted()
    reflective.run(trial, goal=GOAL, config=SteerConfig(**CONFIG))
    assert len(trial.tried) == 5 and "No image of it could be made or rated." in trial.writer.texts[0]


def test_gepa_missing_is_said_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gepa", None)
    monkeypatch.delitem(sys.modules, "beholder.steering.strategies.reflective")
    with pytest.raises(MissingExtra, match=r"pip install 'beholder\[t2i\]'"):
        open_strategy("reflect")
