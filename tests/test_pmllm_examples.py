"""Training examples of P-MLLM: the controlled variation, answers and captions kept on disk, files."""

import dataclasses
import json

import numpy as np
import pytest

from beholder.backbones.chat import Reply
from beholder.errors import BeholderError, UnreadableImage
from beholder.personas import questions
from beholder.personas.prompts import render
from beholder.scale import Scale
from beholder.scorers.pmllm import image_facts
from beholder.scorers.pmllm.captions import CAPTION_PROMPT
from beholder.scorers.pmllm.example_table import NO_RATER, TASKS
from beholder.scorers.pmllm.examples import ExamplesConfig, build, read_jsonl
from example_worlds import N_IMAGES, N_RATERS, Speaker, make_dataset, table


class Captioner:
    name, version = "seer", "2"

    def __init__(self, *, breaks_after=None, refuses=(), unreadable=()):
        self.asked, self.breaks_after, self.refuses, self.unreadable = [], breaks_after, refuses, unreadable

    def ask(self, requests, *, max_tokens=256, progress=None):
        if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
            raise KeyboardInterrupt
        for request in requests:
            if request.image.name in self.unreadable:
                raise UnreadableImage(request.image, "is cut off")
        self.asked += requests
        return [Reply("", refused=True) if r.image.name in self.refuses else Reply(f"A picture of\n{r.image.name}.") for r in requests]


def triples(examples, task=None):
    rows = range(len(examples)) if task is None else np.flatnonzero(examples.task == TASKS.index(task))
    return [(int(examples.rater[i]), int(examples.image[i]), examples.question_text(i)) for i in rows]


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path)


# the tasks


def test_scores_are_those_of_the_raters(dataset):
    examples = build(dataset, config=ExamplesConfig(types=("piaa",)))
    given = {(r, i): s for r, i, s in zip(dataset.rating_rater, dataset.rating_image, dataset.rating_score, strict=True)}
    place = {pair: row for row, pair in enumerate(zip(dataset.rating_rater.tolist(), dataset.rating_image.tolist(), strict=True))}
    aesthetic = [e for e in table(examples) if e.question.name == "aesthetic"]
    assert len(aesthetic) == len(given)
    for example in table(examples):
        pair = example.rater, example.image
        if example.question.name == "aesthetic":
            assert example.integer == 2 * given[pair]
        else:
            assert example.integer == dataset.attributes[example.question.name][place[pair]]
        assert example.answer == example.question.answered(example.integer)
        assert questions.parse_integer(example.answer, example.question) == example.integer
        assert example.source == "ratings"
    assert examples.profile_of(0) == render(dataset.profiles[examples.rater[0]])


def test_the_short_family_asks_on_the_scale_of_the_dataset(tmp_path):
    examples = build(make_dataset(tmp_path, scale=Scale(1, 9)), config=ExamplesConfig(types=("piaa",), family="short"), style="short")
    assert examples[0].question.text == "Rate this image for this viewer, 1 to 9."
    assert set(examples.integer[examples.question == 0].tolist()) == set(range(1, 10))
    assert examples.profile_of(0) == "age 20; openness 1/10"


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_so_many_attributes_as_asked_for_and_known(dataset, n):
    examples = build(dataset, config=ExamplesConfig(types=("piaa",), n_attributes=n))
    known = sum(np.isfinite(values) for values in dataset.attributes.values())
    assert len(examples) == len(known) + np.minimum(known, n).sum()
    assert len(set(triples(examples))) == len(examples)


def test_controlled_variation(dataset):
    """P-MLLM, section 3.2: any two inputs come with several values of the third."""
    examples = build(dataset, config=ExamplesConfig(subjective_images=6), llm=Speaker())
    shares = examples.variation()
    assert shares["profile, question"] == 1
    pairs = {(r, i) for r, i, _ in triples(examples, "piaa")}
    with_two = {(r, i) for r, i in pairs if sum(t[:2] == (r, i) for t in triples(examples)) > 1}
    known = sum(np.isfinite(values) for values in dataset.attributes.values())
    assert len(with_two) >= (known > 0).sum()  # all but those whose rater said nothing else
    assert shares["profile, image"] == pytest.approx(len(with_two) / len(pairs))
    by_hand = {}
    for rater, image, question in set(triples(examples)):
        if rater != NO_RATER:
            by_hand.setdefault((image, question), set()).add(rater)
    assert shares["image, question"] == pytest.approx(np.mean([len(raters) > 1 for raters in by_hand.values()]))
    assert shares["image, question"] > 0.85  # some images have one rater, some gaps leave one alone


def test_pairs_of_raters_get_the_same_attributes_of_an_image(tmp_path):
    dataset = make_dataset(tmp_path, attributes=("composition", "light", "content", "color", "dof"))
    for values in dataset.attributes.values():
        values[:] = 3  # no gaps
    examples = build(dataset, config=ExamplesConfig(types=("piaa",)))
    rated = np.bincount(dataset.rating_image, minlength=N_IMAGES)
    asked = {}
    for rater, image, question in triples(examples):
        asked.setdefault((image, question), set()).add(rater)
    assert all(len(raters) > 1 for (image, _), raters in asked.items() if rated[image] > 1)
    assert len({question for image, question in asked if image == 0}) == 6  # 12 raters = 6 pairs: all five attributes come up


def test_subjective_answers_are_the_models_own_under_the_profile_whatever_the_image(dataset):
    speaker = Speaker()
    examples = build(dataset, config=ExamplesConfig(types=("subjective",), subjective_images=7), llm=speaker)
    found = {}
    for example in table(examples):
        text = render(dataset.profiles[example.rater])
        assert example.answer == f"I am {json.dumps((text, example.question))}"
        assert (example.integer, example.source) == (None, "model speaker")
        found.setdefault((example.rater, example.question), []).append(example.image)
    assert set(found) == {(r, q) for r in range(N_RATERS - 1) for q in questions.SUBJECTIVE}  # the last rater has no profile
    assert all(len(images) == len(set(images)) == 7 for images in found.values())
    rated = set(zip(dataset.rating_rater.tolist(), dataset.rating_image.tolist(), strict=True))
    assert all((rater, image) in rated for (rater, _), images in found.items() for image in images)
    assert len(speaker.asked) == len(set(speaker.asked)) == 6 * 3  # raters with equal profiles share the answers
    assert examples.variation()["image, question"] > 0.7


def test_captions_have_no_profile_and_come_from_the_first_source_that_has_one(tmp_path):
    dataset = make_dataset(tmp_path, captions=["A boat."] + [""] * (N_IMAGES - 1))
    dataset = dataclasses.replace(dataset, images=(*dataset.images[:-1], tmp_path / "missing.png"))
    seer = Captioner(refuses=("image 1.png",), unreadable=("image 2.png",))
    examples = build(dataset, config=ExamplesConfig(types=("caption",)), captions=("column", seer, "stand-in"))
    rows = {e.image: e for e in table(examples)}
    assert (rows[0].answer, rows[0].source) == ("A boat.", "column")
    assert (rows[3].answer, rows[3].source) == ("A picture of image 3.png.", "model seer")
    assert [i for i, e in rows.items() if e.source == "stand-in"] == [1, 2]
    assert N_IMAGES - 1 not in rows
    assert all(e.rater == NO_RATER and e.question == questions.CAPTION and examples.profile_of(0) == "" for e in rows.values())
    assert {request.text for request in seer.asked} == {CAPTION_PROMPT}
    assert "<image>" not in CAPTION_PROMPT
    assert examples.notes == (
        "seer gave no caption for 3 of 29 images",
        "the captions of 2 images are stand-ins: sentences from measured statistics and group names, not written by a model",
        "1 of 30 images have no caption and are left out of the captioning task",
    )
    assert "stand-in" in examples.summary()


def test_captions_keep_their_share(dataset):
    config = ExamplesConfig(types=("piaa", "caption"), caption_share=0.05)
    examples = build(dataset, config=config)
    n = int((examples.task == TASKS.index("caption")).sum())
    assert n == round(0.05 / 0.95 * (len(examples) - n)) < N_IMAGES
    assert all(e.source == "stand-in" for e in table(examples) if e.task == "caption")


def test_images_of_many_raters_come_first(dataset):
    examples = build(dataset, config=ExamplesConfig(types=("piaa",), n_attributes=0, max_records_per_rater=12))
    assert np.bincount(examples.rater).tolist() == [12] * N_RATERS
    for rater in range(N_RATERS):
        assert set(range(10)) <= set(examples.image[examples.rater == rater].tolist())  # the first ten are rated by everybody


def test_the_same_for_the_same_seed(dataset):
    config = ExamplesConfig(max_records_per_rater=15)
    one, two = (table(build(dataset, config=config, llm=Speaker())) for _ in range(2))
    other = table(build(dataset, config=dataclasses.replace(config, seed=1), llm=Speaker()))
    assert one == two
    assert one != other


# interrupted and resumed


def test_after_a_kill_no_answer_is_asked_again(dataset, tmp_path):
    config = ExamplesConfig(types=("subjective",))
    killed, second, third = Speaker(breaks_after=16), Speaker(), Speaker()
    with pytest.raises(KeyboardInterrupt):
        build(dataset, config=config, llm=killed, cache=tmp_path / "kept")
    resumed = build(dataset, config=config, llm=second, cache=tmp_path / "kept")
    assert len(killed.asked) == 16
    assert not set(killed.asked) & set(second.asked)
    assert len(killed.asked) + len(second.asked) == 18
    assert table(resumed) == table(build(dataset, config=config, llm=Speaker(), cache=tmp_path / "fresh"))
    build(dataset, config=config, llm=third, cache=tmp_path / "kept")
    assert third.asked == []
    other = Speaker()
    other.revision = "2"
    build(dataset, config=config, llm=other, cache=tmp_path / "kept")
    assert len(other.asked) == 18  # another model is asked itself


def test_after_a_kill_no_caption_is_asked_again(dataset, tmp_path):
    config = ExamplesConfig(types=("caption",))
    killed, second, third = Captioner(breaks_after=16), Captioner(refuses=("image 29.png",)), Captioner()
    with pytest.raises(KeyboardInterrupt):
        build(dataset, config=config, captions=(killed,), cache=tmp_path / "kept")
    build(dataset, config=config, captions=(second,), cache=tmp_path / "kept")
    names = [request.image.name for request in killed.asked + second.asked]
    assert len(names) == len(set(names)) == N_IMAGES
    build(dataset, config=config, captions=(third,), cache=tmp_path / "kept")
    assert [request.image.name for request in third.asked] == ["image 29.png"]  # refused before: asked once more


def test_stand_ins_are_measured_once(dataset, tmp_path, monkeypatch):
    config = ExamplesConfig(types=("caption",))
    before = build(dataset, config=config, cache=tmp_path / "kept")
    monkeypatch.setattr(image_facts, "measure", None)
    assert table(build(dataset, config=config, cache=tmp_path / "kept")) == table(before)


def test_progress_goes_up_to_the_end(dataset):
    seen = []
    build(dataset, llm=Speaker(), progress=lambda done, total, what: seen.append((done, total, what)))
    answers = [(done, total) for done, total, what in seen if what.startswith("answers")]
    assert answers == [(0, 18), (16, 18), (18, 18)]
    assert seen[0][2] == "answers of the language model under the profiles: 16 to be asked now"


def test_what_was_cut_off_ends_with_a_whole_sentence(dataset):
    speaker = Speaker()
    said = iter(["I am calm. I like", "No end", "I am calm!", 'She said "Go."  And', "海が好き。山も", "Version 2.5 is"] * 3)
    speaker.answer = lambda prompts, *, max_new_tokens: [next(said) for _ in prompts]
    examples = build(dataset, config=ExamplesConfig(types=("subjective",)), llm=speaker)
    assert set(examples.answers) == {"I am calm.", "No end", "I am calm!", 'She said "Go."', "海が好き。", "Version 2.5 is"}


# files


def test_examples_go_to_a_file_and_back(dataset, tmp_path):
    examples = build(dataset, llm=Speaker())
    path = examples.write_jsonl(tmp_path / "new" / "examples.jsonl", dataset=dataset)
    back = read_jsonl(path, dataset=dataset)
    assert table(back) == table(examples)
    assert [back.profile_of(i) for i in range(len(back))] == [examples.profile_of(i) for i in range(len(examples))]
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "task": "piaa", "rater": "r0", "image": dataset.image_ids[dataset.rating_image[0]], "profile": render(dataset.profiles[0]),
        "question": questions.scoring().text, "answer": questions.scoring().answered(examples.integer[0]), "integer": int(examples.integer[0]),
        "source": "ratings", "attribute": "aesthetic", "family": "published", "low": 0, "high": 10,
    }  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == ["examples.jsonl"]


GOOD = {"task": "piaa", "rater": "r0", "image": "image 0.png", "question": "How?", "answer": "Score: 4", "attribute": "aesthetic", "family": "short", "low": 1, "high": 5}


def test_examples_of_other_tools_may_lack_what_follows_from_the_rest(dataset, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(GOOD) + "\n\n" + json.dumps({"task": "caption", "image": "image 1.png", "question": "What?", "answer": "Sea"}))
    examples = read_jsonl(tmp_path / "x.jsonl", dataset=dataset)
    assert [(e.rater, e.integer, e.source) for e in table(examples)] == [(0, 4, "file"), (NO_RATER, None, "file")]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2 is not a training example (Expecting"),
        ("3", "line 2 is not a training example"),
        (json.dumps(GOOD | {"task": "essay"}), "there is no task 'essay', there are piaa, subjective, caption"),
        (json.dumps(GOOD | {"rater": "r99"}), "the dataset has no rater 'r99'"),
        (json.dumps(GOOD | {"image": "x.png"}), "the dataset has no image 'x.png'"),
        (json.dumps(GOOD | {"answer": "very nice"}), "the answer 'very nice' gives no integer from 1 to 5"),
        (json.dumps(GOOD | {"integer": 6}), "gives no integer from 1 to 5"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "family"}), "family is missing"),
    ],
)
def test_wrong_lines_are_named(dataset, tmp_path, line, sentence):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(BeholderError) as refused:
        read_jsonl(path, dataset=dataset)
    assert sentence in str(refused.value)
    assert str(path) in str(refused.value)


def test_unusable_files_and_settings(dataset, tmp_path):
    with pytest.raises(BeholderError, match=r"nowhere\.jsonl cannot be read"):
        read_jsonl(tmp_path / "nowhere.jsonl", dataset=dataset)
    with pytest.raises(BeholderError, match="subjective tasks are answered by the base language model: give llm"):
        build(dataset)
    with pytest.raises(BeholderError, match="no caption source 'colum'"):
        build(dataset, config=ExamplesConfig(types=("caption",)), captions=("colum",))
    with pytest.raises(BeholderError, match="small has no ratings"):
        build(dataset.rows(np.zeros(0, dtype=int)), config=ExamplesConfig(types=("piaa",)))
    for wrong in ({"types": ("poem",)}, {"types": ()}, {"family": "x"}, {"caption_share": 1.0}, {"n_attributes": -1}, {"subjective_images": 0}):
        with pytest.raises(BeholderError):
            ExamplesConfig(**wrong)
