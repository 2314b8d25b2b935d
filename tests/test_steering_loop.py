"""The search: what it finds, what it survives, what it counts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Judge, Judged, Shown
from beholder.steering.loop import SteerConfig, steer
from beholder.steering.pick import best_of
from beholder.steering.run_folder import RunFolder, RunFolderWarning
from steering_fakes import BAD, GOAL, GOOD, CallBook, ColourJudge, ScriptedWriter, WordGenerator, WordWriter

SCENARIOS = ("none:0", "writer:2", "image:2", "image:7", "judge:2", "hold_out:2", "put:2", "put:9", "add_image:2", "add_image:5")


def search(folder, *, writer=None, generator=None, judge=None, hold_out=None, progress=None, goal=GOAL, **options):
    config = SteerConfig(**{"iterations": 3, "per_iteration": 4, **options})
    with RunFolder(folder, settings=asdict(config)) as run:
        return steer(
            goal,
            writer=writer or WordWriter(),
            generator=generator or WordGenerator(),
            judge=judge or ColourJudge(),
            hold_out=hold_out,
            config=config,
            run=run,
            progress=progress,
            backoff=0,
        )


def failing(**kinds):
    """Prompt ending in NAME -> its failures."""
    return lambda prompt, seed: kinds.get(prompt.split()[-1], ())


# --- what it finds


def test_feedback_finds_a_planted_optimum_that_chance_does_not(tmp_path):
    size = {"iterations": 15, "per_iteration": 12, "keep": 5}
    fed_back = search(tmp_path / "mils", **size)
    chance = search(tmp_path / "random", strategy="random", **size)
    assert fed_back.counts["images"] == 1 + 15 * 12 and chance.counts["images"] > 150  # it runs into its own prompts again
    good = [len(set(result.best.prompt.split()) & set(GOOD)) for result in (fed_back, chance)]
    assert good[0] >= 8 and good[1] <= 3
    assert fed_back.best.reward > chance.best.reward + 0.3 > chance.start.reward
    rewards = [one.reward for one in fed_back.candidates]
    assert rewards == sorted(rewards, reverse=True) and fed_back.best is fed_back.candidates[0] and fed_back.complete


def test_the_writer_is_shown_the_best_first_and_random_search_shows_nothing(tmp_path):
    script = [("a good0", "a bad0"), ("a good1 good2", "a bad1 bad2"), ("a good3",)]
    writer = ScriptedWriter(*script)
    search(tmp_path / "mils", writer=writer, per_iteration=2, keep=3, tries=1)
    histories = [[one.prompt for one in history] for _, _, history in writer.asked]
    assert histories == [[], ["a good0", GOAL, "a bad0"], ["a good1 good2", "a good0", GOAL]]
    scores = [one.score for one in writer.asked[1][2]]
    assert scores == sorted(scores, reverse=True) and isinstance(writer.asked[1][2][0], Shown)
    alone = ScriptedWriter(*script)
    search(tmp_path / "random", writer=alone, per_iteration=2, keep=3, tries=1, strategy="random")
    assert [history for _, _, history in alone.asked] == [(), (), ()]
    assert [seed for _, seed, _ in alone.asked] == [seed for _, seed, _ in writer.asked]  # nothing else differs
    assert len({seed for _, seed, _ in alone.asked}) == 3


def test_the_reward_of_a_prompt_is_the_mean_over_seeds_that_are_the_same_for_all(tmp_path):
    book = CallBook()
    result = search(tmp_path, generator=WordGenerator(book), images_per_prompt=3, seed=5, per_iteration=2, iterations=1)
    asked = [line.split(" ", 2) for line in book.lines]
    assert [seed for _, seed, prompt in asked if prompt == GOAL] == ["5", "6", "7"]
    assert len(asked) == 9 and {seed for _, seed, _ in asked} == {"5", "6", "7"}
    one = result.best
    assert len(one.images) == 3 and all(image.exists() for image in one.images)
    alone = ColourJudge().judge(one.images, prompts=[one.prompt] * 3, goal=GOAL)
    assert one.reward == pytest.approx(sum(judged.reward for judged in alone) / 3, abs=1e-12)
    assert one.parts == {"rater Ann": pytest.approx(sum(judged.parts["rater Ann"] for judged in alone) / 3)}


def test_the_other_judge_is_recorded_beside_the_reward_and_changes_nothing(tmp_path):
    alone = search(tmp_path / "alone")
    held = search(tmp_path / "held", hold_out=ColourJudge(name="held", weight=-0.5))
    assert [one.prompt for one in held.candidates] == [one.prompt for one in alone.candidates]
    assert all(one.hold_out == pytest.approx(-one.reward / 2) for one in held.candidates)
    assert all(math.isnan(one.hold_out) for one in alone.candidates)
    curve = RunFolder.open(tmp_path / "held").events("iteration")
    assert [event["number"] for event in curve] == [0, 1, 2, 3] and len(curve[1]["candidates"]) == 4
    rewards = [event["best_reward"] for event in curve]
    assert rewards == sorted(rewards) and rewards[-1] == held.best.reward
    assert [event["best_hold_out"] for event in curve] == [pytest.approx(-reward / 2) for reward in rewards]
    assert all(event["hold_out_mean"] == pytest.approx(-event["reward_mean"] / 2) for event in curve)
    assert RunFolder.open(tmp_path / "alone").events("iteration")[1]["best_hold_out"] is None


def test_all_new_images_of_an_iteration_are_judged_in_one_call(tmp_path):
    book = CallBook()
    search(tmp_path, judge=ColourJudge(book), hold_out=ColourJudge(book, name="held"), images_per_prompt=2)
    sizes = [len(line.split()) - 2 for line in book.lines]
    assert sizes == [2, 2, 8, 8, 8, 8, 8, 8]


# --- stopping and going on


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Every scenario's folder, after its processes were killed again and again."""
    folder = tmp_path_factory.mktemp("killed")
    process = [sys.executable, Path(__file__).with_name("steering_process.py"), folder, *SCENARIOS]
    done = subprocess.run(process, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("scenario", SCENARIOS[1:])
def test_killed_again_and_again_it_asks_nothing_twice_and_ends_alike(killed, scenario):
    folder, kills = killed
    name = scenario.replace(":", "-")
    assert int(kills[scenario]) >= 2
    assert json.loads((folder / f"{name}.json").read_text()) == json.loads((folder / "none-0.json").read_text())
    calls, expected = CallBook(folder / f"{name}.calls"), CallBook(folder / "none-0.calls")
    for kind in ("writer", "image", "judge"):
        assert calls.answered(kind) == expected.answered(kind) != {}
    assert not list((folder / name / "images").glob(".*"))


def test_the_scenarios_spend_their_budget_and_fail_in_every_way(killed):
    counts = json.loads((killed[0] / "none-0.json").read_text())["counts"]
    assert counts["images"] == 38 and counts["refused"] and counts["failed"] and counts["failed_tries"] > counts["refused"] + counts["failed"]


def test_a_run_that_ended_is_read_back_without_any_call(tmp_path):
    first = search(tmp_path, hold_out=ColourJudge(name="held"))
    size = (tmp_path / "events.jsonl").stat().st_size
    book, seen = CallBook(), []
    again = search(
        tmp_path,
        writer=WordWriter(book),
        generator=WordGenerator(book),
        judge=ColourJudge(book),
        hold_out=ColourJudge(book, name="held"),
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert again == first and not book.lines
    assert (tmp_path / "events.jsonl").stat().st_size == size and seen[-1] == (13, 13)


def test_interrupted_at_any_image_nothing_is_lost(tmp_path):
    whole = search(tmp_path / "whole", images_per_prompt=2)
    book = CallBook()
    for stop in range(1, 40):

        def interrupted(done, total, what, stop=stop):
            if done == stop and what != "done":
                raise KeyboardInterrupt

        try:
            result = search(tmp_path / "run", generator=WordGenerator(book), images_per_prompt=2, progress=interrupted)
        except KeyboardInterrupt:
            continue
        break
    assert stop == 27 and set(book.answered("image").values()) == {1}
    assert [(one.prompt, one.reward) for one in result.candidates] == [(one.prompt, one.reward) for one in whole.candidates]


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_an_image_whose_file_is_lost_is_made_again_and_that_is_said(tmp_path, damage):
    first = search(tmp_path)
    victim = first.candidates[2]
    file = victim.images[0]
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:40])
    else:
        Image.new("RGB", (5, 5)).save(file)
    book = CallBook()
    with pytest.warns(RunFolderWarning, match=f"1 of the images .* made again: {file.name}"):
        again = search(tmp_path, writer=WordWriter(book), generator=WordGenerator(book), judge=ColourJudge(book))
    assert book.lines == [f"image 0 {victim.prompt}"]  # the same pixels came: its reward still holds
    assert again == first


def test_a_lost_image_that_comes_out_differently_is_judged_again(tmp_path):
    first = search(tmp_path)
    victim = first.candidates[-1]
    victim.images[0].unlink()

    class Other(WordGenerator):
        def generate(self, prompt, *, seed):
            super().generate(prompt, seed=seed)
            return Image.new("RGB", (16, 16), (250, 0, 0))

    book = CallBook()
    with pytest.warns(RunFolderWarning):
        again = search(tmp_path, generator=Other(), judge=ColourJudge(book))
    assert again.best.prompt == victim.prompt and again.best.reward == pytest.approx(25 / 12)
    assert book.lines == [f"judge colour {victim.images[0].stem}"]


# --- failures


def test_each_kind_of_failure_of_an_image(tmp_path):
    words = ("once", "twice", "never", "refused", "broken", "fine")
    kinds = failing(once=("failed",), twice=("broken", "failed"), never=("failed",) * 9, refused=("refused",) * 9, broken=("broken",) * 9)
    book = CallBook()
    result = search(
        tmp_path,
        writer=ScriptedWriter([f"a {word}" for word in words]),
        generator=WordGenerator(book, failing=kinds),
        iterations=1,
        per_iteration=6,
        budget=50,
    )
    made = {word: book.answered("image")[f"image 0 a {word}"] for word in words}
    assert made == {"once": 2, "twice": 3, "never": 3, "refused": 1, "broken": 3, "fine": 1}
    assert {one.prompt for one in result.candidates} == {GOAL, "a once", "a twice", "a fine"}
    counts = result.counts
    assert (counts["images"], counts["failed_tries"]) == (14, 10)
    assert (counts["refused"], counts["failed"], counts["broken"], counts["judged"]) == (1, 1, 1, 4)
    dropped = {event["prompt"]: event["dropped"] for event in RunFolder.open(tmp_path).events("candidate")}
    assert dropped["a refused"] == "it is refused" and dropped["a fine"] == ""
    assert "prompts without a reward: 1 refused, 1 failed, 1 broken" in result.notes


def test_what_is_no_image_is_broken(tmp_path):
    class Odd(WordGenerator):
        def generate(self, prompt, *, seed):
            image = super().generate(prompt, seed=seed)
            return b"bytes" if "good0" in prompt else image

    class Forgetful(WordGenerator):
        def generate_many(self, requests):
            yield from ((place, answer) for place, answer in super().generate_many(requests) if "good0" not in requests[place][0])

    for number, (generator, kind) in enumerate([(Odd(), "broken"), (Forgetful(), "failed")]):
        result = search(tmp_path / str(number), writer=ScriptedWriter(["a good0", "a good1"]), generator=generator, per_iteration=2, iterations=1, budget=9)
        assert result.counts[kind] == 1 and result.counts["failed_tries"] == 3 and result.best.prompt == "a good1"


@pytest.mark.parametrize("at", [1, 4])
def test_nobody_answers_at_the_generator(tmp_path, at):
    def silent(prompt, seed):
        if generator.book.here >= at:
            raise CallFailed("connection refused", kind="unreachable")

    whole = search(tmp_path / "whole")
    generator = WordGenerator(before=silent)
    with pytest.raises(BeholderError, match=rf"^word images cannot be reached \(connection refused\): the {at} images? made .* same command goes on") as caught:
        search(tmp_path / "run", generator=generator)
    assert not isinstance(caught.value, CallFailed)
    book = CallBook()
    result = search(tmp_path / "run", generator=WordGenerator(book))
    assert [one.reward for one in result.candidates] == [one.reward for one in whole.candidates] and result.counts == whole.counts
    assert not set(book.lines) & set(generator.book.lines) and len(book.lines) + at == 13


def test_one_image_without_an_answer_among_others_with_one_is_tried_again(tmp_path):
    """A connection that is lost now and then must not stop a run that nobody watches."""
    lost = Counter()

    def silent(prompt, seed):
        if prompt == GOAL and seed == 0 and not lost[prompt]:
            lost[prompt] += 1
            raise CallFailed("connection lost", kind="unreachable")

    whole = search(tmp_path / "whole", images_per_prompt=2, budget=99)
    result = search(tmp_path / "run", generator=WordGenerator(before=silent), images_per_prompt=2, budget=99)
    assert lost[GOAL] == 1 and result.counts["failed_tries"] == 1 and result.counts["images"] == whole.counts["images"] + 1
    assert [one.reward for one in result.candidates] == [one.reward for one in whole.candidates]


def test_nobody_answers_at_the_writer(tmp_path):
    with pytest.raises(BeholderError, match=r"^script cannot be reached .* the 3 images made"):
        search(tmp_path, writer=ScriptedWriter(("a good0", "a good1"), "unreachable"), per_iteration=2)
    writer = ScriptedWriter(("a good2", "a good3"), ("a good4", "a good5"))
    result = search(tmp_path, writer=writer, per_iteration=2)
    assert len(writer.asked) == 2 and len(result.candidates) == 7 and result.counts["writer_calls"] == 3


def test_a_writer_that_fails_is_asked_again_with_other_seeds_and_one_that_refuses_is_not(tmp_path):
    writer = ScriptedWriter("failed", "broken", ("a good0",), "refused", "failed", "failed", "failed", ("a good9",))
    result = search(tmp_path, writer=writer, per_iteration=1)
    assert len(writer.asked) == 7  # 3 tries, 1 refusal, 3 tries
    seeds = [seed for _, seed, _ in writer.asked]
    assert seeds[:3] == [seeds[0], seeds[0] + 1, seeds[0] + 2] and len(set(seeds)) == 7
    counts = result.counts
    assert (counts["writer_calls"], counts["writer_failed"], counts["writer_broken"], counts["writer_refused"]) == (7, 4, 1, 1)
    assert result.best.prompt == "a good0" and result.complete
    again = ScriptedWriter()
    assert search(tmp_path, writer=again, per_iteration=1).counts == counts and not again.asked  # failures are answers, too


def test_fewer_like_empty_and_overlong_prompts_are_asked_for_again_and_counted(tmp_path):
    writer = ScriptedWriter(
        ("a good0", "A good0.", "", "x " * 9), ("a good1", GOAL.upper()), ("a good2", "a good3", "a good4", "a good5"), ("a good6", "b", "c", "d")
    )
    result = search(tmp_path, writer=writer, iterations=2, max_words=8)
    assert [n for n, _, _ in writer.asked] == [4, 3, 2, 4]
    counts = result.counts
    assert (counts["duplicates"], counts["empty"], counts["too_long"], counts["spare"], counts["proposed"]) == (2, 1, 1, 2, 14)
    assert {one.prompt for one in result.candidates} == {GOAL, "a good0", "a good1", "a good2", "a good3", "a good6", "b", "c", "d"}
    why = [event["why"] for event in RunFolder.open(tmp_path).events("candidate") if not event["accepted"]]
    assert sorted(why) == ["duplicate", "duplicate", "empty", "spare", "spare", "too long"]


def test_a_writer_that_gives_nothing_leaves_the_goal(tmp_path):
    result = search(tmp_path, writer=ScriptedWriter())
    assert result.best == result.start and result.counts["writer_calls"] == 9
    assert "no variant has a reward (the writer gave no new prompts)" in result.notes


def test_what_a_judge_cannot_judge_is_dropped_and_counted(tmp_path):
    result = search(
        tmp_path,
        writer=ScriptedWriter(["a good0", "a good1", "a bad0"]),
        judge=ColourJudge(skip=lambda prompt: "good0" in prompt),
        hold_out=ColourJudge(name="held", skip=lambda prompt: "good1" in prompt),
        iterations=1,
        per_iteration=3,
    )
    assert [one.prompt for one in result.candidates] == ["a good1", GOAL, "a bad0"]
    assert result.counts["not_judged"] == 1 and result.counts["hold_out_not_judged"] == 1 and math.isnan(result.best.hold_out)
    assert {event["prompt"]: event["dropped"] for event in RunFolder.open(tmp_path).events("candidate")}["a good0"] == "not judged: too dark"


def test_a_reward_that_is_no_number_and_rewards_that_are_missing(tmp_path):
    class Nan(Judge):
        name = "nan"

        def judge(self, images, *, prompts, goal):
            return [Judged(math.nan if prompt != GOAL else 0.5) for prompt in prompts]

    class Short(Nan):
        def judge(self, images, *, prompts, goal):
            return super().judge(images, prompts=prompts, goal=goal)[1:]

    result = search(tmp_path / "nan", judge=Nan(), iterations=1)
    assert result.best == result.start and result.counts["not_judged"] == 4
    with pytest.raises(BeholderError, match="gave 0 rewards for 1 images"):
        search(tmp_path / "short", judge=Short())


def test_a_goal_that_is_refused_is_no_end_but_nothing_at_all_is(tmp_path):
    result = search(tmp_path / "goal", generator=WordGenerator(failing=failing(cat=("refused",))), iterations=1)
    assert math.isnan(result.start.reward) and result.start.images == () and result.best.iteration == 1
    assert any("nothing to compare with" in note for note in result.notes)
    book = CallBook()
    with pytest.raises(BeholderError, match=r"nor of 4 variants of it, could be made and judged \(it is refused\)"):
        search(tmp_path / "all", generator=WordGenerator(book, failing=lambda prompt, seed: ("refused",)))
    assert len(book.lines) == 5  # the goal and the first iteration, not all


# --- the budget


@pytest.mark.parametrize(("budget", "per", "made"), [(1, 1, 1), (6, 1, 6), (7, 3, 6), (13, 1, 13), (100, 1, 13), (None, 2, 26)])
def test_the_budget_is_kept_exactly(tmp_path, budget, per, made):
    book = CallBook()
    result = search(tmp_path, generator=WordGenerator(book), budget=budget, images_per_prompt=per)
    assert len(book.lines) == made == result.counts["images"] and result.complete
    assert result.counts["over_budget"] == 0 and all(len(one.images) == per for one in result.candidates)


def test_failed_tries_are_paid_from_the_budget(tmp_path):
    book = CallBook()
    result = search(tmp_path, generator=WordGenerator(book, failing=lambda prompt, seed: ("failed",)), budget=11, tries=2)
    # the goal takes 2, the first four prompts 8, and one is left for a prompt that then cannot be tried again
    assert len(book.lines) == result.counts["images"] == 11 and result.counts["judged"] == 5 and result.counts["failed"] == 1
    assert "the budget of 11 images is spent" in result.notes


def test_progress_is_of_images(tmp_path):
    seen = []
    search(tmp_path, progress=lambda done, total, what: seen.append((done, total, what)), iterations=1, per_iteration=2, budget=3)
    assert seen[0] == (0, 3, "the prompt itself") and (2, 3, "iteration 1 of 1") in seen and seen[-1] == (3, 3, "done")


# --- for strategies, and options


def test_a_strategy_may_ask_anything_and_try_its_own_prompts(tmp_path, monkeypatch):
    import beholder.steering.strategies.mils as module

    def run(trial, *, goal, config):
        assert trial.start.prompt == goal and trial.images_left == 12 and trial.prompts_left == 12
        answers = [trial.complete("why?", call="r1"), trial.complete("why?", call="r2")]
        assert answers[0] != answers[1] and answers[0].startswith("why? ")
        prompts = trial.write(1, [], call=1)
        tried = trial.try_out([*prompts, "my  own", "", goal, "MY own!"], 1)
        assert [one.prompt for one in tried] == [*prompts, "my own", goal]
        assert trial.try_out(["my own"], 2)[0] is tried[1] and trial.images_left == 10
        draws.append(trial.random.random())

    draws, book = [], CallBook()
    monkeypatch.setattr(module, "run", run)
    first = search(tmp_path, writer=WordWriter(book))
    assert first.counts["writer_calls"] == 3 and len(book.answered("complete")) == 2
    assert search(tmp_path, writer=WordWriter(book)) == first and len(book.lines) == 3 and draws[0] == draws[1]


def test_prompts_tried_one_by_one_add_to_their_iteration_once(tmp_path, monkeypatch):
    import beholder.steering.strategies.mils as module

    def run(trial, *, goal, config):
        for word in GOOD[:4]:
            trial.try_out([f"a {word}"], 1)

    monkeypatch.setattr(module, "run", run)
    first = search(tmp_path)
    log = (tmp_path / "events.jsonl").read_bytes()
    assert [one["prompt"] for one in RunFolder.open(tmp_path).get("iteration", "1")["candidates"]] == [f"a {word}" for word in GOOD[:4]]
    assert search(tmp_path) == first and (tmp_path / "events.jsonl").read_bytes() == log


def test_an_answer_to_another_text_is_not_taken_for_this_one(tmp_path, monkeypatch):
    import beholder.steering.strategies.mils as module

    book, asked = CallBook(), ["why?", "why?", "how?"]
    monkeypatch.setattr(module, "run", lambda trial, *, goal, config: answers.append(trial.complete(asked.pop(0), call=1)))
    answers: list[str] = []
    for _ in range(3):
        search(tmp_path, writer=WordWriter(book))
    assert answers[0] == answers[1] and answers[2].startswith("how?") and len(book.lines) == 2


def test_a_writer_that_cannot_reflect_and_one_that_refuses_to(tmp_path, monkeypatch):
    import beholder.steering.strategies.mils as module

    monkeypatch.setattr(module, "run", lambda trial, *, goal, config: trial.complete("why?", call=1))
    with pytest.raises(BeholderError, match="cannot reflect"):
        search(tmp_path / "cannot", writer=ScriptedWriter())

    class Refuses(ScriptedWriter):
        def complete(self, text, *, seed):
            raise CallFailed("no", kind="refused")

    with pytest.raises(CallFailed, match="no"):
        search(tmp_path / "refuses", writer=Refuses())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "luck"}, "no strategy 'luck': name one of mils, random, reflect"),
        ({"iterations": 0}, "iterations is 0"),
        ({"near_duplicate": 0.0}, "near_duplicate is 0.0"),
        ({"budget": 2, "images_per_prompt": 3}, "too small for one prompt"),
        ({"goal": "  "}, "the prompt is empty"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, options, message):
    with pytest.raises(BeholderError, match=message):
        search(tmp_path, **options)


# --- best of n


def pick(folder, *, generator=None, judge=None, keep=3, of=8, hold_out=None, progress=None):
    with RunFolder(folder, settings={"pick": [keep, of]}) as run:
        return best_of(
            f"{GOAL} {GOOD[0]} {BAD[0]}",
            generator=generator or WordGenerator(),
            judge=judge or ColourJudge(),
            hold_out=hold_out,
            keep=keep,
            of=of,
            seed=3,
            run=run,
            progress=progress,
            backoff=0,
        )


def test_the_best_of_n_seeds_are_kept(tmp_path):
    book = CallBook()
    result = pick(tmp_path, generator=WordGenerator(book, failing=lambda prompt, seed: {4: ("refused",), 5: ("failed",)}.get(seed, ())))
    assert set(book.answered("image")) == {f"image {seed} a cat good0 bad0" for seed in range(3, 11)} and len(book.lines) == 9
    done, (curve,) = RunFolder.open(tmp_path).get("done", "done"), RunFolder.open(tmp_path).events("iteration")
    rewards = {one["seeds"][0]: one["reward"] for one in curve["candidates"]}
    assert sorted(rewards) == [3, 5, 6, 7, 8, 9, 10]
    assert [one.reward for one in result.candidates] == sorted(rewards.values(), reverse=True)[:3]
    assert [one["seeds"][0] for one in done["kept"]] == sorted(rewards, key=lambda seed: -rewards[seed])[:3]
    assert done["best"]["images"] == [f"images/{result.best.images[0].name}"] and result.start.reward == rewards[3]
    assert result.counts["refused"] == 1 and result.counts["images"] == 9
    assert any("1 of 8 images could not be made" in note for note in result.notes)


def test_best_of_n_goes_on_where_it_stopped(tmp_path):
    whole = pick(tmp_path / "whole", hold_out=ColourJudge(name="held", weight=2))

    def interrupted(done, total, what):
        if done == 5:
            raise KeyboardInterrupt

    book = CallBook()
    with pytest.raises(KeyboardInterrupt):
        pick(tmp_path / "run", generator=WordGenerator(book), progress=interrupted)
    result = pick(tmp_path / "run", generator=WordGenerator(book), hold_out=ColourJudge(name="held", weight=2))
    assert len(book.lines) == 8 == len(set(book.lines))
    assert [(one.reward, one.hold_out) for one in result.candidates] == [(one.reward, one.hold_out) for one in whole.candidates]


def test_best_of_n_in_one_sentence(tmp_path):
    with pytest.raises(BeholderError, match="the best 9 of 8 images"):
        pick(tmp_path / "many", keep=9)
    with pytest.raises(BeholderError, match=r"not one of 8 images could be made and judged \(too dark\)"):
        pick(tmp_path / "none", judge=ColourJudge(skip=lambda prompt: True))
