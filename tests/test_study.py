"""Planning a study, keeping it blind, answering it: balance to the trial, nothing that tells the arm, no answer lost or counted twice."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import image_files
from beholder.steering.run_folder import RunFolder
from beholder.steering.study.arms import arms_of_runs, read_run
from beholder.steering.study.blinding import write_study
from beholder.steering.study.plan import Entry, StudyConfig, plan_trials
from beholder.steering.study.storage import Study
from command_line import beholder, one_sentence, refused

ARMS = ("own", "other", "generic", "unoptimised")


def made_up(raters=3, prompts=7, arms=ARMS):
    return [Entry(f"r{r}", f"p{p}", arm, Path(f"{r}-{p}-{arm}")) for r in range(raters) for p in range(prompts) for arm in arms]


def pictures(folder, entries):
    """The entries with real images, each with its arm in the PNG text and in its name, as a generator might leave it."""
    real = []
    for number, entry in enumerate(entries):
        info = PngInfo()
        info.add_text("prompt", f"secret arm {entry.arm}")
        path = Path(folder) / f"{entry.rater}-{entry.prompt}-{entry.arm}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image_files.picture(40, 40, seed=number).save(path, "PNG", pnginfo=info, dpi=(72, 72))
        real.append(Entry(entry.rater, entry.prompt, entry.arm, path))
    return real


@pytest.fixture
def study(tmp_path):
    opened, _ = write_study(tmp_path / "study", pictures(tmp_path / "in", made_up(2, 2, ARMS[:3])), config=StudyConfig(repeats=2))
    yield opened
    opened.close()


def chunks(png):
    """The kinds of block that a PNG file is made of."""
    found, at = set(), 8
    while at < len(png):
        found.add(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return found


def pair(trial):
    return tuple(sorted((trial.left.arm, trial.right.arm)))


# the plan


@pytest.mark.parametrize(("repeats", "trials"), [(1, None), (2, None), (3, None), (1, 25), (2, 20), (3, 31), (1, 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_and_sides_are_balanced(repeats, trials, seed):
    planned, notes = plan_trials(made_up(), config=StudyConfig(repeats=repeats, trials=trials, seed=seed))
    assert not notes
    for rater in ("r0", "r1", "r2"):
        own = [one for one in planned if one.rater == rater]
        assert len(own) == (repeats * 6 * 7 if trials is None else trials // repeats * repeats)
        shown = Counter(map(pair, own))
        counts = [shown[tuple(sorted(each))] for each in combinations(ARMS, 2)]
        assert max(counts) - min(counts) <= repeats  # a comparison comes with all its repetitions
        for each in shown:
            left = sum(one.left.arm == each[0] for one in own if pair(one) == each)
            assert abs(2 * left - shown[each]) <= 1
        prompts = Counter(one.prompt for one in own)
        assert max(prompts.values()) - min(prompts.values()) <= 3 * repeats
    overall = Counter(map(pair, planned))
    assert max(overall.values()) - min(overall.values()) <= repeats  # what is left over falls to other pairs for other raters


def test_sides_are_balanced_over_raters_where_they_cannot_be_within():
    planned, _ = plan_trials(made_up(10, 1), config=StudyConfig())
    for each in combinations(ARMS, 2):
        of_pair = [one for one in planned if pair(one) == tuple(sorted(each))]
        assert sum(one.left.arm == each[0] for one in of_pair) == 5


def test_repetitions_swap_the_sides_and_come_later():
    planned, _ = plan_trials(made_up(1), config=StudyConfig(repeats=2))
    half = len(planned) // 2
    first, second = planned[:half], planned[half:]
    assert {(one.prompt, one.left.arm, one.right.arm) for one in first} == {(one.prompt, one.right.arm, one.left.arm) for one in second}
    assert [one.repeat for one in planned] == [1] * half + [2] * half
    for seed in range(40):
        two, _ = plan_trials(made_up(1, 2, ARMS[:2]), config=StudyConfig(repeats=2, seed=seed))
        assert all(a.prompt != b.prompt for a, b in pairwise(two))  # nothing twice in a row


def test_the_order_is_shuffled_by_the_seed():
    def order(seed):
        return [(one.prompt, one.left.arm, one.right.arm) for one in plan_trials(made_up(), config=StudyConfig(seed=seed))[0]]

    assert order(0) == order(0) != order(1)
    assert sorted(tuple(sorted(one)) for one in order(0)) == sorted(tuple(sorted(one)) for one in order(1))
    lefts = Counter(one[1] for one in order(0))
    assert max(lefts.values()) - min(lefts.values()) <= 6
    assert order(0)[:6] != sorted(order(0)[:6])


def test_only_images_of_the_same_rater_and_prompt_are_compared():
    entries = [one for one in made_up() if not (one.rater == "r0" and one.prompt == "p0" and one.arm == "other")]
    planned, _ = plan_trials(entries, config=StudyConfig())
    assert all(one.left.rater == one.right.rater and one.left.prompt == one.right.prompt and one.left.arm != one.right.arm for one in planned)
    assert len(planned) == 3 * 7 * 6 - 3


def test_same_images_are_named_and_left_out(tmp_path):
    entries = pictures(tmp_path / "in", made_up(1, 2, ARMS[:3]))
    twin = tmp_path / "twin.bmp"
    with Image.open(entries[0].image) as image:
        image.save(twin)  # the same pixels in another format
    entries[2] = Entry("r0", "p0", "generic", twin)
    study, notes = write_study(tmp_path / "study", entries, config=StudyConfig())
    assert len(study.trials) == 5
    assert any("own and generic are the same image" in note and "'p0'" in note for note in notes)
    study.close()


@pytest.mark.parametrize(
    ("entries", "config", "words"),
    [
        ([], {}, ("nothing to compare",)),
        (made_up(arms=("own",)), {}, ("two arms", "own")),
        ([*made_up(1, 1), Entry("r0", "p0", "own", Path("again"))], {}, ("two images", "own", "again")),
        ([Entry("a", "p", "own", Path("x")), Entry("a", "q", "other", Path("y"))], {}, ("nothing to compare", "a")),
    ],
)
def test_plans_that_cannot_be(entries, config, words):
    refused(lambda: plan_trials(entries, config=StudyConfig(**config)), *words)


def test_settings_that_cannot_be():
    refused(lambda: StudyConfig(repeats=0), "repeats", "1 or more")
    refused(lambda: StudyConfig(repeats=3, trials=2), "trials", "3 or more")


# blinding


def test_nothing_that_raters_see_tells_the_arm(study, tmp_path):
    seen = (study.folder / "study.json").read_text()
    assert not any(arm in seen for arm in ARMS)
    files = sorted((study.folder / "images").iterdir())
    assert len(files) == 12 and len({file.stat().st_mtime for file in files}) == 1
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert image.info == {} and not image.getexif() and image.mode == "RGB"
        content = file.read_bytes()
        assert b"secret" not in content and chunks(content) == {b"IHDR", b"IDAT", b"IEND"}
    arms = {one["arm"] for one in json.loads((study.folder / "key.json").read_text())["images"].values()}
    assert arms == set(ARMS[:3])


def test_images_are_the_same_pixels_and_the_key_is_right(study):
    said = json.loads((study.folder / "key.json").read_text())
    for name, trial in study.trials.items():
        for side in ("left", "right"):
            file = getattr(trial, side)
            of = said["images"][f"images/{file.name}"]
            assert of["arm"] == getattr(study.key[name], side)
            with Image.open(file) as shown, Image.open(of["source"]) as source:
                assert shown.tobytes() == source.convert("RGB").tobytes()


def test_neither_names_nor_their_order_follow_the_arms_or_the_seed(tmp_path):
    entries = pictures(tmp_path / "in", made_up(1, 6, ARMS))
    arms_by_name = []
    for number in range(2):
        study, _ = write_study(tmp_path / f"study{number}", entries, config=StudyConfig(seed=0))
        images = json.loads((study.folder / "key.json").read_text())["images"]
        arms_by_name.append([images[name]["arm"] for name in sorted(images)])
        plans = [(key.left, key.right) for key in study.key.values()]
        study.close()
        assert len(plans) == 36
    assert arms_by_name[0] != arms_by_name[1]


def test_sizes_that_differ_are_said(tmp_path):
    entries = pictures(tmp_path / "in", made_up(1, 1, ARMS[:2]))
    image_files.picture(64, 40).save(entries[0].image)
    study, notes = write_study(tmp_path / "study", entries, config=StudyConfig())
    study.close()
    assert any("1 of 1 trials" in note and "size" in note for note in notes)


def test_images_that_are_missing_or_broken_stop_the_plan(tmp_path):
    entries = pictures(tmp_path / "in", made_up(1, 1, ARMS[:2]))
    entries[1].image.write_bytes(b"no image")
    refused(lambda: write_study(tmp_path / "study", entries, config=StudyConfig()), "arm other")
    entries[1].image.unlink()
    refused(lambda: write_study(tmp_path / "study", entries, config=StudyConfig()), "does not exist", "other")
    assert not (tmp_path / "study").exists() and [one.name for one in tmp_path.iterdir()] == ["in"]


def test_no_study_is_overwritten(study, tmp_path):
    entries = pictures(tmp_path / "in", made_up(1, 1))
    refused(lambda: write_study(study.folder, entries, config=StudyConfig()), "not empty")


# answers


def test_answering_goes_on_where_it_was(study):
    order = [trial.id for trial in study.of("r0")]
    for done, name in enumerate(order):
        assert study.next("R0 ").id == study.next("r0").id == name
        assert study.progress("r0") == (done, len(order))
        study.answer(name, "left", rater="r0", seconds=1.5)
        with Study(study.folder) as again:  # another process
            assert [one.trial for one in again.answers()] == order[: done + 1]
    assert study.next("r0") is None and study.progress("r1") == (0, len(order))


def test_a_second_answer_needs_to_be_meant(study):
    study.answer("0001", "left")
    assert "--change" in refused(lambda: study.answer("0001", "right"), "0001", "answered already")
    assert study.answers()[0].chosen == "left"
    study.answer("0001", "right", change=True)
    assert [one.chosen for one in study.answers()] == ["right"]
    with sqlite3.connect(study.folder / "answers.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM answers").fetchone() == (2,)  # nothing is overwritten


def test_sending_the_same_answer_again_does_nothing(study):
    first = study.answer("0001", "left", request="abc")
    assert study.answer("0001", "left", request="abc") == first and len(study.answers()) == 1
    refused(lambda: study.answer("0002", "left", request="abc"), "abc", "0001")
    refused(lambda: study.answer("0001", "left", request="def"), "answered already")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trial": "9999", "chosen": "left"}, ("no trial", "0001")),
        ({"trial": "0001", "chosen": "middle"}, ("middle", "left or right")),
        ({"trial": "0001", "chosen": "left", "rater": "r1"}, ("r0", "r1")),
        ({"trial": "0001", "chosen": "left", "rater": "eve"}, ("no rater 'eve'", "r0")),
        ({"trial": "0001", "chosen": "left", "seconds": -1.0}, ("seconds",)),
    ],
)
def test_answers_that_cannot_be(study, arguments, words):
    refused(lambda: study.answer(**arguments), *words)
    assert not study.answers()


def test_answers_come_from_a_table_all_or_none(study, tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text("trial,chosen,rater,seconds,time\n0001,left,r0,2.5,1000\n2,RIGHT,,,\n")
    assert study.import_answers(file) == 2
    assert [(one.trial, one.chosen, one.seconds) for one in study.answers()] == [("0001", "left", 2.5), ("0002", "right", None)]
    assert study.answers()[0].time == 1000
    assert study.import_answers(file) == 0  # nothing new
    file.write_text("trial,chosen\n0003,left\n8888,left\n")
    refused(lambda: study.import_answers(file), "line 3", "8888", "none")
    file.write_text("trial,chosen\n0003,left\n0001,right\n")
    refused(lambda: study.import_answers(file), "line 3", "answered already")
    assert len(study.answers()) == 2
    assert study.import_answers(file, change=True) == 2 and study.answers()[0].chosen == "right"
    file.write_text("trial,side\n0003,left\n")
    refused(lambda: study.import_answers(file), "no column chosen", "side")


def test_files_that_are_not_this_studys_are_noticed(study, tmp_path):
    key = study.folder / "key.json"
    good = key.read_text()
    key.write_text(good.replace('"other"', '"own"', 1))
    refused(lambda: Study(study.folder).key, "check sum")
    key.write_text(good[:100])
    refused(lambda: Study(study.folder).key, "key", "damaged")
    key.unlink()
    refused(lambda: Study(study.folder).key, "key", "cannot be read")
    other, _ = write_study(tmp_path / "other", pictures(tmp_path / "in", made_up(1, 2, ARMS[:3])), config=StudyConfig())
    key.write_bytes((other.folder / "key.json").read_bytes())
    other.close()
    refused(lambda: Study(study.folder).key, "another study")
    with sqlite3.connect(study.folder / "answers.sqlite") as db:
        db.execute("INSERT INTO answers (trial, rater, chosen, time) VALUES ('7777', 'r0', 'left', 1)")
    refused(study.answers, "7777", "another study")


def test_folders_that_are_no_study(study, tmp_path):
    refused(lambda: Study(tmp_path / "nowhere"), "study plan")
    (study.folder / "study.json").write_text('{"format": 2}')
    refused(lambda: Study(study.folder), "format 2")
    (study.folder / "study.json").write_text('{"format": 1, "question": "?", "trials": [{"id": "1"}]}')
    refused(lambda: Study(study.folder), "not as it was written")


def test_answers_of_a_newer_version_are_left_alone(study):
    with sqlite3.connect(study.folder / "answers.sqlite") as db:
        db.execute("INSERT INTO migrations VALUES ('m999_more', 1)")
    refused(lambda: Study(study.folder), "newer", "m999_more")
    study.close()
    (study.folder / "answers.sqlite").write_bytes(b"this is no database, but long enough to be taken for one" * 50)
    for left in study.folder.glob("answers.sqlite-*"):
        left.unlink()
    refused(lambda: Study(study.folder), "cannot be opened")


# from runs


def finished_run(folder, *, goal, raters, seed=0, complete=True, start=True, number=0):
    """A run folder as a search leaves it."""
    with RunFolder(folder, settings={"goal": goal, "seed": seed, "raters": raters}) as run:
        tried = []
        for iteration, prompt in enumerate([goal, f"{goal}, better"]):
            if iteration or start:
                run.add_image(f"k{iteration}", image_files.picture(32, 32, seed=100 * number + iteration), prompt=prompt, seed=seed)
                tried.append({"prompt": prompt, "iteration": iteration, "reward": 0.5 + iteration / 10, "images": [f"images/k{iteration}.png"], "seeds": [seed]})
        run.put("iteration", "1", number=1, best_prompt=f"{goal}, better", candidates=tried)
        if complete:
            run.put("done", "done", what="steer", complete=True, best=tried[-1], start=tried[0] if start else None)
    return Path(folder)


def test_runs_become_arms(tmp_path):
    runs = [finished_run(tmp_path / who, goal="a cat", raters=[who], number=place) for place, who in enumerate(("anna", "ben", "eve"))]
    runs.append(finished_run(tmp_path / "all", goal="a cat", raters=["everybody"], number=5))
    entries, notes = arms_of_runs([read_run(folder) for folder in runs])
    assert not notes
    image = {(one.rater, one.arm): one.image for one in entries}
    assert {arm for _, arm in image} == set(ARMS) and {rater for rater, _ in image} == {"anna", "ben", "eve"}
    for who in ("anna", "ben", "eve"):
        assert image[who, "own"] == tmp_path / who / "images" / "k1.png"
        assert image[who, "unoptimised"] == tmp_path / who / "images" / "k0.png"
        assert image[who, "generic"] == tmp_path / "all" / "images" / "k1.png"
    others = [image[who, "other"].parts[-3] for who in ("anna", "ben", "eve")]
    assert sorted(others) == ["anna", "ben", "eve"] and all(other != who for other, who in zip(others, ("anna", "ben", "eve"), strict=True))
    assert len(plan_trials(entries, config=StudyConfig())[0]) == 18


def test_a_run_for_an_age_band_is_an_arm_and_its_band_no_rater(tmp_path):
    anna, band = (finished_run(tmp_path / who, goal="a cat", raters=[who], number=place) for place, who in enumerate(("anna", "age 20-29")))
    entries, _ = arms_of_runs([read_run(anna), read_run(band)])
    assert {entry.rater for entry in entries} == {"anna"}
    assert {entry.arm for entry in entries} == {"own", "age 20-29", "unoptimised"}


def test_runs_that_lack_something_say_so(tmp_path):
    anna = finished_run(tmp_path / "anna", goal="a cat", raters=["anna"], complete=False)
    bare = finished_run(tmp_path / "bare", goal="a dog", raters=["anna"], start=False)
    _, notes = arms_of_runs([read_run(anna), read_run(bare)])
    assert any("not finished" in note for note in notes) and any("no arm other" in note for note in notes)
    assert any("no start image" in note for note in notes)
    ben = finished_run(tmp_path / "ben", goal="a cat", raters=["ben"], seed=3)
    _, notes = arms_of_runs([read_run(anna), read_run(ben)])
    assert any("different seeds (0, 3)" in note for note in notes)
    refused(lambda: arms_of_runs([read_run(anna), read_run(anna)]), "both runs for anna")
    refused(lambda: arms_of_runs([read_run(anna, arm="hpsv3")]), "rater=NAME:FOLDER")
    RunFolder(tmp_path / "empty", settings={"goal": "a cat"}).close()
    refused(lambda: read_run(tmp_path / "empty"), "no image with a reward")


# the command line


def answers_json(result):
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_study_from_start_to_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [finished_run(tmp_path / who, goal="a cat", raters=[who], number=place) for place, who in enumerate(("anna", "ben"))]
    planned = answers_json(beholder("study", "plan", *runs, "--out", "s", "--repeats", 2, "--json"))
    assert planned["trials"] == 12 and planned["arms"] == ["own", "other", "unoptimised"] and planned["raters"] == {"anna": 6, "ben": 6}
    assert "key.json" in beholder("study", "plan", "--run", f"rater=anna:{runs[0]}", "--run", f"rater=ben:{runs[1]}", "--out", "t").stderr
    key = Study(tmp_path / "s").key
    while True:
        shown = answers_json(beholder("study", "next", "--rater", "Anna", "--study", "s", "--json"))
        if shown["trial"] is None:
            break
        assert Path(shown["left"]).is_file() and Path(shown["right"]).is_file() and shown["prompt"] == "a cat"
        better = "left" if ARMS.index(key[shown["trial"]].left) < ARMS.index(key[shown["trial"]].right) else "right"
        assert beholder("study", "answer", shown["trial"], better, "--study", "s", "--seconds", 2).exit_code == 0
    assert shown["answered"] == shown["trials"] == 6
    assert "0001" in one_sentence(beholder("study", "answer", "0001", "left", "--study", "s").stderr)
    found = answers_json(beholder("study", "analyse", "--study", "s", "--draws", 100, "--json"))
    assert found["answered"] == 6 and found["own_tests"][0]["share"]["value"] == 1.0 and found["agreement"]["value"] == 1.0
    assert found["seconds"] == 2.0 and any("no upper bound" in word for word in found["words"])
    text = beholder("study", "analyse", "--study", "s", "--draws", 100, "--out", "report")
    assert "own over other: 2 of 2" in text.stdout and (tmp_path / "report" / "report.html").is_file()
    assert json.loads((tmp_path / "s" / "analysis.json").read_text())["answered"] == 6
    assert "| own | other | 2/2 = 100 %" in (tmp_path / "s" / "report.md").read_text()
    nothing = beholder("study", "analyse", "--study", "t")
    assert nothing.exit_code == 0 and "no trial has been answered yet" in nothing.stdout


def test_a_study_from_a_table(tmp_path):
    entries = pictures(tmp_path / "in", made_up(2, 3, ("mine", "theirs")))
    rows = "".join(f"{one.rater},{one.prompt},{one.arm},in/{one.image.name}\n" for one in entries)
    (tmp_path / "arms.csv").write_text("rater,prompt,arm,image\n" + rows)
    result = beholder("study", "plan", "--arms", tmp_path / "arms.csv", "--out", tmp_path / "s", "--trials", 2)
    assert result.exit_code == 0 and "4 trials" in result.stdout
    (tmp_path / "a.csv").write_text("trial,chosen\n0001,left\n0002,right\n0003,left\n")
    assert "3 of 4" in beholder("study", "answer", "--from", tmp_path / "a.csv", "--study", tmp_path / "s").stdout
    assert "mine" in beholder("study", "analyse", "--study", tmp_path / "s", "--draws", 100).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "--out", "s"), ("--arms",)),
        (("plan", "--run", "anna", "--out", "s"), ("rater=NAME:FOLDER",)),
        (("plan", "nowhere", "--out", "s"), ("nowhere",)),
        (("plan", "--arms", "missing.csv", "--out", "s"), ("missing.csv",)),
        (("plan", "--arms", "no-arm.csv", "--out", "s"), ("no column arm",)),
        (("plan", "--arms", "gone.csv", "--out", "s"), ("gone.png", "does not exist")),
        (("next", "--rater", "anna", "--study", "nowhere"), ("study plan",)),
        (("answer", "0001", "--study", "nowhere"), ("which side",)),
        (("analyse", "--study", "nowhere"), ("study plan",)),
    ],
)
def test_the_command_line_refuses_in_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("no-arm.csv").write_text("rater,prompt,image\na,p,x.png\n")
    Path("gone.csv").write_text("rater,prompt,arm,image\na,p,own,gone.png\na,p,other,gone2.png\n")
    result = beholder("study", *arguments)
    message = one_sentence(result.stderr)
    assert result.exit_code == 2 and all(word in message for word in words), message
    assert not Path("s").exists()
