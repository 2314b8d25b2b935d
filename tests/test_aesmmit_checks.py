"""Checks of instruction data: each finds what was planted for it, and none of them finds anything in data that are in order."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from beholder.critique.aesmmit.checks import check
from beholder.critique.aesmmit.instructions import Instruction, choice_question, read_instructions, write_instructions
from beholder.critique.aesmmit.near_copies import copies, sign_of
from beholder.photos import read_photo
from command_line import refused
from image_files import bad_files, encoded, turned

WORDS = ["amber", "birch", "coral", "dune", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "larch", "meadow", "north", "ochre", "pine", "quartz", "reef", "slate", "tide"]


def photograph(seed, width=320, height=240):
    """Blurred patches of many sizes in colour: like photographs, different ones have little in common."""
    noise = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells, share in ((3, 1.0), (6, 0.7), (13, 0.5), (40, 0.2)):
        patch = Image.fromarray(noise.integers(0, 256, (cells, cells + 1, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        total += share * np.asarray(patch)
    return Image.fromarray((total / 2.4).clip(0, 255).astype(np.uint8))


def choice(id, letter, *, stem="What is shown?", options=("a quiet lake", "a loud town", "an old tree", "a red door"), image="a.png"):
    text = options["ABCD".index(letter)] if letter in "ABCD"[: len(options)] and letter else "none"
    turn = (choice_question(stem, options), f"{letter}) {text}")
    return Instruction(id, image, (turn,), type="choice", qtype="what", options=options, answer=letter)


def open_question(id, question="What is the light like?", answer="Soft and warm.", image="a.png"):
    return Instruction(id, image, ((question, answer),), type="open")


def in_order():
    """Items with nothing wrong: every question on every image once, right options at every place, yes as often as no."""
    items = [open_question(str(n), f"What is {word} like here?", "Soft, warm light.") for n, word in enumerate(WORDS)]
    items += [open_question(f"y{n}", f"Is {word} there?", ("Yes.", "No.")[n % 2]) for n, word in enumerate(WORDS * 2)]
    items = [replace(item, image=f"{number % 7}.png") for number, item in enumerate(items)]
    items += [choice(f"c{n}", "ABCD"[n % 4], stem=f"Which of these has {word}?", image="c.png") for n, word in enumerate(WORDS)]
    return items


def kinds(items, **options):
    found = check(items, images=options.pop("images", None), **options)
    return [(one.severity, one.kind, one.item) for one in found]


def test_items_that_are_in_order_give_no_finding():
    assert kinds(in_order()) == []


@pytest.mark.parametrize(
    ("item", "finding"),
    [
        (Instruction("x", "a.png", ()), ("error", "empty", "x")),
        (open_question("x", answer=" "), ("error", "empty", "x")),
        (open_question("x", question=""), ("error", "empty", "x")),
        (choice("x", ""), ("error", "answer letter", "x")),
        (choice("x", "E"), ("error", "answer letter", "x")),
        (replace(choice("x", "B"), answer="C"), ("error", "answer letter", "x")),
        (choice("x", "A", options=("a lake", "A lake.", "a tree", "a town")), ("error", "same options", "x")),
        (choice("x", "A", options=("a lake",)), ("error", "options", "x")),
        (choice("x", "A", options=("a lake", "")), ("error", "options", "x")),
        (open_question("x", "Is the light soft and warm here?", "Soft and warm"), ("error", "answer in question", "x")),
        (choice("x", "A", stem="Where does the quiet lake of a quiet lake end?"), ("error", "answer in question", "x")),
        (Instruction("x", "a.png", (("What is it?", "A lake"),), type="choice"), ("error", "options", "x")),
        (Instruction("x", "a.png", (("Which?", "A"),), type="choice", options=("a", "b"), answer="A"), ("warning", "options", "x")),
    ],
)
def test_each_planted_fault_is_found_and_nothing_else(item, finding):
    assert kinds([*in_order(), item]) == [finding]


def test_an_answer_of_one_word_or_one_that_all_options_share_may_stand_in_the_question():
    assert kinds([open_question("1", "Is it blurry or sharp?", "Sharp.")]) == []
    assert kinds([choice("1", "A", stem="Is it a quiet lake, a loud town, an old tree or a red door?")]) == []


@pytest.mark.parametrize(
    ("roles", "severity", "kind"),
    [
        (["gpt", "human"], "error", "odd roles"),
        (["human", "human", "gpt"], "error", "odd roles"),
        (["human", "gpt", "human"], "error", "odd roles"),
        (["human", "robot", "gpt"], "error", "odd roles"),
        (["human", "gpt", "system"], "error", "odd roles"),
        (["system"], "error", "empty"),
    ],
)
def test_odd_roles_are_found(tmp_path, roles, severity, kind):
    path = tmp_path / "in.json"
    messages = [{"from": role, "value": f"some {role} text {number}"} for number, role in enumerate(roles)]
    path.write_text(json.dumps([{"id": "x", "conversations": messages}]))
    assert (severity, kind, "x") in kinds(read_instructions(path))


def test_a_system_message_first_is_in_order(tmp_path):
    path = tmp_path / "in.json"
    messages = [{"from": role, "value": role} for role in ("system", "human", "gpt", "user", "assistant")]
    path.write_text(json.dumps([{"id": "x", "conversations": messages}]))
    assert kinds(read_instructions(path)) == []


@pytest.mark.parametrize(
    ("image", "question", "answer", "found"),
    [
        ("a.png", "<image>\nWhy?", "So.", []),
        ("a.png", "Why?\n<image>", "So.", []),
        (None, "Why?", "So.", []),
        (None, "<image>\nWhy?", "So.", [("error", "image mark", "x")]),
        ("a.png", "<image>\n<image>\nWhy?", "So.", [("error", "image mark", "x")]),
        ("a.png", "Why?", "<image>So.", [("error", "image mark", "x")]),
        ("a.png", "Why?", "So.", [("warning", "image mark", "x")]),
    ],
)
def test_the_mark_of_the_image_is_checked(tmp_path, image, question, answer, found):
    path = tmp_path / "in.json"
    item = {"id": "x", "image": image, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}
    path.write_text(json.dumps([item]))
    assert kinds(read_instructions(path)) == found


def test_ids_repetitions_and_contradictions():
    same = [open_question("1"), open_question("1", question="WHAT is the light like", answer="soft and warm!", image="a.png")]
    assert kinds(same) == [("warning", "same id", "1"), ("warning", "repeated", "1")]
    other = [open_question("1"), open_question("2", answer="Cold.")]
    assert kinds(other) == [("warning", "contradiction", "2")]
    described = [replace(item, type="description") for item in other]
    assert kinds(described) == []  # two people said what they think
    assert kinds([open_question("1"), open_question("2", image="b.png")]) == []
    turned_round = [choice("1", "A"), choice("2", "B", options=("a loud town", "a quiet lake", "an old tree", "a red door"))]
    assert kinds(turned_round) == [("warning", "repeated", "2")]
    assert kinds([choice("1", "A"), choice("2", "B")]) == [("warning", "contradiction", "2")]


def test_answers_that_can_be_guessed_unseen_are_found():
    def many(letter_of, options_of=lambda n: None, count=200):
        rest = ("a quiet lake", "a loud town", "an old tree", "a red door")
        return [choice(str(n), letter_of(n), stem=f"Which {n}?", options=options_of(n) or rest[n // 8 % 4 :] + rest[: n // 8 % 4], image=f"{n}.png") for n in range(count)]

    balanced = "ABCD"
    assert kinds(many(lambda n: balanced[n % 4])) == []
    assert kinds(many(lambda n: "A" if n % 2 else balanced[n // 2 % 4])) == [("warning", "answer positions", "")]
    assert kinds(many(lambda n: "A", count=4)) == []  # four items prove nothing

    def longest(n):
        options = ["a lake", "a town", "a tree", "a door"]
        options[n % 4] = "a lake with reeds round it"
        return tuple(options)

    assert kinds(many(lambda n: balanced[n % 4], longest)) == [("warning", "longest option", "")]
    shortest = many(lambda n: balanced[n % 4], lambda n: tuple(option[:6] + " there" * (place != n % 4) for place, option in enumerate(longest(0))))
    assert ("warning", "shortest option", "") in kinds(shortest)
    said = [open_question(str(n), f"Is {n} there?", "Yes, it is." if n % 5 else "No.") for n in range(100)]
    assert kinds(said) == [("warning", "yes or no", "")]


def test_missing_broken_and_foreign_images_are_found_once_each(tmp_path):
    photograph(1).save(tmp_path / "good.png")
    (tmp_path / "sub").mkdir()
    photograph(2).save(tmp_path / "sub" / "good.jpg")
    broken = bad_files()
    for name in ("text.jpg", "cut.png", "empty.jpg"):
        (tmp_path / name).write_bytes(broken[name])
    names = ["good.png", "sub\\good.jpg", "gone.png", "text.jpg", "cut.png", "empty.jpg", "../out.png", "/etc/hosts", "", "gone.png"]
    items = [open_question(str(n), f"What is {n} like?", image=name) for n, name in enumerate(names)]
    steps = []
    found = check(items, images=tmp_path, progress=lambda done, total, what: steps.append((done, total)))
    assert [(one.kind, one.item) for one in found] == [
        ("missing image", "2"),
        ("unreadable image", "3"),
        ("unreadable image", "4"),
        ("unreadable image", "5"),
        ("unreadable image", "6"),
        ("unreadable image", "7"),
    ]
    assert all(one.severity == "error" for one in found) and "1 more item" in found[0].text and "leads out" in found[4].text
    assert steps == [(n, 8) for n in range(1, 9)]


def test_copies_are_known_again_and_other_photographs_are_not():
    originals = [photograph(seed) for seed in range(25)]
    signs = [sign_of(photo) for photo in originals]
    changes = {
        "half": lambda photo: photo.resize((160, 120)),
        "quarter": lambda photo: photo.resize((80, 60), Image.Resampling.LANCZOS),
        "larger": lambda photo: photo.resize((640, 480), Image.Resampling.BICUBIC),
        "square": lambda photo: photo.resize((224, 224)),
        "same size": lambda photo: photo,
    }
    for name, change in changes.items():
        for quality in (90, 30):
            again = [sign_of(read_photo(encoded(change(photo), "JPEG", quality=quality), min_side=128)) for photo in originals]
            assert copies(again, signs) == list(range(25)), (name, quality)
    strangers = [sign_of(photograph(seed)) for seed in range(1000, 1200)]
    assert copies(strangers, signs) == [None] * 200
    mirrored = [sign_of(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for photo in originals]
    assert copies(mirrored, signs) == [None] * 25
    assert sign_of(Image.new("RGB", (90, 90), "grey")) is None and copies(signs, []) == [None] * 25


def test_real_photographs_are_told_apart_and_their_copies_known():
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images
    photos = [Image.fromarray(pixels) for pixels in images]
    signs = [sign_of(photo) for photo in photos]
    for place, photo in enumerate(photos):
        small = photo.copy()
        small.thumbnail((200, 200))
        assert copies([sign_of(read_photo(encoded(small, "JPEG", quality=40), min_side=128))], signs) == [place]
        width, height = photo.size
        half = photo.crop((0, 0, width // 2, height))
        assert copies([sign_of(half)], signs) == [None]


@pytest.fixture
def world(tmp_path):
    """A folder of training images, of which one is a test image, one a poor copy of one (and turned by EXIF), and one only has the name of one."""
    train, test = tmp_path / "train", tmp_path / "bench" / "images"
    train.mkdir()
    test.mkdir(parents=True)
    for seed in range(4):
        photograph(seed, 480, 360).save(test / f"baid_{seed}.png")
    (train / "same.png").write_bytes((test / "baid_0.png").read_bytes())
    stored, exif = turned(photograph(1).resize((160, 120)), 6)
    stored.save(train / "near.jpg", quality=60, exif=exif)
    photograph(77).save(train / "baid_3.png")
    photograph(78).save(train / "other.jpg")
    names = ["same.png", "near.jpg", "baid_3.png", "other.jpg"]
    return train, test, [open_question(name, f"What is {name} like?", image=name) for name in names]


IMAGE_FOUND = [("error", "test image", "same.png"), ("warning", "like a test image", "near.jpg")]


def test_test_images_are_found_in_a_folder(world):
    train, test, items = world
    assert kinds(items, images=train) == []
    assert kinds(items, images=train, against=[test]) == IMAGE_FOUND
    assert kinds(items, images=train, against=[test.parent]) == IMAGE_FOUND
    text = [one.text for one in check(items, images=train, against=[test])]
    assert "baid_0.png" in text[0] and "baid_1.png" in text[1]


def test_test_images_are_found_in_the_table_of_vlmevalkit(world, tmp_path):
    train, test, items = world
    table = tmp_path / "AesBench_VAL.tsv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["index", "question", "A", "B", "image"])
        for seed in range(3):
            data = base64.b64encode((test / f"baid_{seed}.png").read_bytes()).decode()
            writer.writerow([seed, 'What is "it"?', "a", "b", data if seed else f"['{data}']"])
        writer.writerow([3, "And now?", "a", "b", "0"])
    assert len(table.read_bytes()) > 3 * csv.field_size_limit()
    assert kinds(items, images=train, against=[table]) == IMAGE_FOUND
    assert kinds(items, images=train, against=[tmp_path / "bench", table]) == IMAGE_FOUND
    plain = tmp_path / "paths.tsv"
    plain.write_text("index\tquestion\timage_path\n0\tWhat?\tbench/images/baid_0.png\n1\tWhat?\tgone/OTHER.jpg\n")
    assert kinds(items, images=train, against=[plain]) == [("error", "test image", "same.png"), ("warning", "name of a test image", "other.jpg")]


def test_test_images_are_found_by_name_where_there_are_only_names(world, tmp_path):
    train, test, items = world
    named = tmp_path / "AesBench_evaluation.json"
    named.write_text(json.dumps({f"baid_{seed}.png": {"AesP_data": {"Question": "?", "Options": "A) x"}} for seed in range(4)}))
    assert kinds(items, images=None, against=[named]) == [("warning", "name of a test image", "baid_3.png")]
    beside = test.parent / "AesBench_evaluation.json"
    beside.write_bytes(named.read_bytes())
    assert kinds(items, images=train, against=[beside]) == IMAGE_FOUND  # with the images beside it, names do not count
    assert kinds(items, images=train, against=[test.parent]) == IMAGE_FOUND
    llava = write_instructions(tmp_path / "test.json", [open_question("t", image="images/Other.jpg")])
    assert kinds(items, images=train, against=[llava]) == [("warning", "name of a test image", "other.jpg")]


def test_test_sets_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text("{")
    refused(lambda: check([], images=None, against=[tmp_path / "none"]), "does not exist")
    refused(lambda: check([], images=None, against=[tmp_path / "empty"]), "holds no images")
    refused(lambda: check([], images=None, against=[tmp_path / "a.json"]), "holds no images")
    refused(lambda: check([], images=None, against=[tmp_path / "b.json"]), "broken JSON")
    (tmp_path / "c.tsv").write_bytes(b"index\timage\n0\t\xff")
    refused(lambda: check([], images=None, against=[tmp_path / "c.tsv"]), "table")
    (tmp_path / "notes.txt").write_text("not a test set")
    refused(lambda: check([], images=None, against=[tmp_path / "notes.txt"]), "no test set")
    (tmp_path / "long.json").write_text(json.dumps([{"id": "1", "image": "z" * 300 + ".png", "conversations": []}]))
    assert check([], images=None, against=[tmp_path / "long.json"]) == []


def test_signs_do_not_depend_on_the_mode_of_the_picture():
    photo = photograph(3)
    buffer = io.BytesIO()
    photo.convert("RGBA").save(buffer, "PNG")
    assert copies([sign_of(Image.open(buffer))], [sign_of(photo)]) == [0]
