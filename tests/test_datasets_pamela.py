"""The reader of PAMELA: one made-up release in several spellings, every bad input, and what `check` finds."""

import json

import numpy as np
import pytest

from beholder import datasets
from beholder.about import About
from beholder.datasets.base import Dataset
from beholder.profile import Profile
from beholder.scale import Scale
from command_line import beholder, refused
from pamela_layout import PARTS, entries_of, make_pamela


def read(root):
    return datasets.read("pamela", root)


def found(root):
    return "\n".join(map(str, datasets.check("pamela", root)))


def rows_of(data):
    rows = zip(data.rating_rater, data.rating_image, data.rating_score, data.parts, strict=True)
    return {(data.raters[rater], data.image_ids[image]): (round(float(score), 3), part) for rater, image, score, part in rows}


def told(data):
    """Everything that can be compared between two copies in different folders."""
    names = ("scale", "raters", "profiles", "image_ids", "groups", "prompts", "metadata", "parts", "attributes", "captions")
    return rows_of(data), [getattr(data, name) for name in names]


def edit(root, change, *, part="train"):
    """Rewrite the file of a part; `change` gets the list of its entries."""
    path = root / "annotations" / f"pamela_{part}.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def test_the_release_as_it_is_described(tmp_path):
    data = read(make_pamela(tmp_path))
    entries = entries_of()
    assert rows_of(data) == {
        (str(one["participant_id"]), one["image_id"]): (one["original_score"], part) for part in PARTS for one in entries[part]
    }
    assert (data.name, data.scale, data.groups) == ("pamela", Scale(1, 5, 0), data.image_ids)
    assert data.licence == "CC BY 4.0" and "2604.07427" in data.citation
    assert all(path.is_file() for path in data.images)
    first = {str(one["participant_id"]): one["demographics"] for part in PARTS for one in entries[part]}
    levels = {"novice": "beginner", "amateur": "competent", "expert": "expert"}
    for rater, profile in zip(data.raters, data.profiles, strict=True):
        person = first[rater]
        experience = levels[person["art_experience"]]
        assert profile == Profile(age=person["age"], gender=person["gender"], nationality=person["nationality"], art_experience=experience)
    place = data.image_ids.index("img_0002")
    assert data.prompts[place] == "a picture of thing 2, in fog"
    assert {name: values[place] for name, values in data.metadata.items()} == {"group": "portrait art", "type": "art", "style": "pop art"}
    assert data.metadata["style"][data.image_ids.index("img_0003")] == ""
    assert data.about()[str(data.images[place])] == About(
        "a picture of thing 2, in fog", {"group": "portrait art", "type": "art", "style": "pop art"}
    )
    assert data.notes == ("6 of 12 images have no style",)


def flat(one):
    """Demographics and metadata beside the rating."""
    return {**{key: value for key, value in one.items() if not isinstance(value, dict)}, **one["demographics"], **one["image_metadata"]}


def camel(one):
    names = {"participant_id": "participantId", "image_id": "imageId", "image_path": "imagePath", "original_score": "originalScore"}
    renamed = {names.get(key, key): value for key, value in one.items()}
    renamed["imageMetadata"] = renamed.pop("image_metadata") | {"textPrompt": renamed.pop("prompt")}
    renamed["participantInfo"] = {f"participant_{key}": value for key, value in renamed.pop("demographics").items()}
    return renamed


def plain(one):
    """Other names for everything, the image named by a path from another machine only."""
    person, image = one["demographics"], one["image_metadata"]
    return {
        "user_id": str(one["participant_id"]),
        "filename": f"/home/someone/PAMELA/images/{one['image_id']}.png",
        "rating": str(one["original_score"]),
        "metadata": {**image, "prompt": one["prompt"], "participant": {"Sex": person["gender"].upper(), "Country": person["nationality"]}},
        "demo_age": f"{person['age']} years",
        "demo_art_expertise": person["art_experience"],
    }


SPELLINGS = {
    "flat": {"change": flat},
    "camel case": {"change": camel},
    "plain names": {"file_name": "{part}.json"},
    "lines": {"file_name": "PAMELA-{part}.jsonl"},
    "wrapped": {"wrap": "data"},
    "beside the images": {"folder": "."},
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_spellings_give_the_same_dataset(tmp_path, case):
    make_pamela(tmp_path / "a")
    make_pamela(tmp_path / "b", **SPELLINGS[case])
    assert told(read(tmp_path / "a")) == told(read(tmp_path / "b"))


def test_other_names_for_everything(tmp_path):
    first, second = read(make_pamela(tmp_path / "a")), read(make_pamela(tmp_path / "b", change=plain))
    assert {(rater, image.removesuffix(".png")): row for (rater, image), row in rows_of(second).items()} == rows_of(first)
    assert (first.profiles, first.prompts, first.metadata) == (second.profiles, second.prompts, second.metadata)
    assert second.image_ids[0] == "img_0000.png" and second.notes == first.notes


def test_the_folder_above_will_do(tmp_path):
    make_pamela(tmp_path / "PAMELA" / "PAMELA")
    assert told(read(tmp_path / "PAMELA")) == told(read(tmp_path / "PAMELA" / "PAMELA"))
    assert read(tmp_path / "PAMELA").images[0] == tmp_path / "PAMELA" / "PAMELA" / "images" / "img_0000.png"


def test_rows_keep_prompts_and_take_parts_along(tmp_path):
    data = read(make_pamela(tmp_path))
    assert set(data.parts) == set(PARTS)
    train = data.rows(np.array(data.parts) == "train")
    assert set(train.parts) == {"train"} and len(train.parts) == len(train.rating_score) == data.parts.count("train")
    assert (train.prompts, train.metadata, train.about()) == (data.prompts, data.metadata, data.about())
    picked = data.rows([5, 2])
    assert picked.parts == (data.parts[5], data.parts[2])
    assert data.rows(np.zeros(0, dtype=int)).parts == ()


def test_ratings_of_one_image_in_two_parts_count_for_the_later_one(tmp_path):
    root = make_pamela(tmp_path)
    test = entries_of()["test_seen"][0]
    edit(root, lambda entries: entries.append(test | {"original_score": 1.0}))
    data = read(root)
    assert rows_of(data)[str(test["participant_id"]), test["image_id"]] == (test["original_score"], "test_seen")
    assert "1 ratings were replaced by a later one of the same rater and image" in data.notes
    assert "the same rater rates the same image again further down" in found(root)


def test_unknown_and_withheld_demographics(tmp_path):
    def change(one):
        one["demographics"] = {
            "age": "old",
            "gender": "Prefer not to say",
            "art_experience": "I paint on Sundays",
            "art interest": 0,
            "hobbies": ["music", "cats"],
            "glasses": True,
            "mean_rating": 3.3,
            "openness": 40,
        }

    data = read(make_pamela(tmp_path, change=change))
    free = {"art_experience_given": "I paint on Sundays", "art_interest_given": 0, "hobbies": "music, cats", "glasses": "yes"}
    assert all(profile == Profile(free=free | {"openness_given": 40}) for profile in data.profiles)
    assert any(note.startswith("age of 7 raters is left empty (100: age = 'old' is not an age") for note in data.notes)


def test_interest_on_1_to_10_is_taken(tmp_path):
    data = read(make_pamela(tmp_path, change=lambda one: one["demographics"].update(art_interest=one["participant_id"] - 99)))
    assert [profile.art_interest for profile in data.profiles] == [1, 2, 3, 4, 5, 6, 7]


def test_no_prompts_and_no_demographics_are_noted_with_the_keys(tmp_path):
    def change(one):
        one["words"] = one.pop("prompt")
        one["person"] = {"years": one.pop("demographics")["age"]}

    data = read(make_pamela(tmp_path, change=change))
    assert data.prompts == () and not any(data.profiles)
    keys = "participant_id, image_id, image_path, original_score, image_metadata {group, type, style, width, mean_score}, words, person {years}"
    notes = [note for note in data.notes if keys in note]
    assert [note[:24] for note in notes] == ["no entry has a prompt un", "no entry has demographic"]
    assert len(data.about()) == 12  # the metadata are there


def test_one_id_for_several_files(tmp_path):
    def change(one):
        one["image_id"] = one["image_id"][:-1] + "x"

    data = read(make_pamela(tmp_path, change=change))
    assert len(data.images) == 12 and data.image_ids[1] == "img_0001.png"
    assert "2 image ids stand for several files (img_000x, img_001x): images go by their paths" in data.notes


def test_images_told_differently_are_noted(tmp_path):
    root = make_pamela(tmp_path)
    edit(root, lambda entries: entries[-1].update(prompt="something else"))
    image = json.loads((root / "annotations" / "pamela_train.json").read_text())[-1]["image_id"]
    data = read(root)
    assert f"prompt or metadata of 1 images differ between their entries ({image}): the first count" in data.notes
    assert "something else" not in data.prompts


def test_raters_called_unseen_in_the_training_part_are_noted(tmp_path):
    root = make_pamela(tmp_path)
    edit(root, lambda entries: entries[0].update(participant_id=105))
    assert "1 raters of the unseen parts are in the training part, too (105)" in read(root).notes


def test_missing_parts_are_noted(tmp_path):
    data = read(make_pamela(tmp_path, parts=["train", "test_seen"]))
    assert "the parts val_seen, val_unseen, test_unseen are not there" in data.notes
    assert set(data.parts) == {"train", "test_seen"}


def test_images_that_are_not_there(tmp_path):
    root = make_pamela(tmp_path)
    before = read(root)
    (root / "images" / "img_0003.png").unlink()
    data = read(root)
    assert rows_of(data) == {pair: row for pair, row in rows_of(before).items() if pair[1] != "img_0003"}
    assert "1 images are not there (img_0003): 4 ratings dropped" in data.notes
    assert len(data.prompts) == len(data.metadata["group"]) == len(data.images) == 11
    for path in data.images:
        path.unlink()
    refused(lambda: read(root), "none of the images that", "img_0000")


@pytest.mark.parametrize("score", [5.2, 0.99, -1, "good", True])
def test_scores_off_the_scale(tmp_path, score):
    root = make_pamela(tmp_path)
    edit(root, lambda entries: entries[2].update(original_score=score), part="test_seen")
    refused(lambda: read(root), "pamela_test_seen.json entry 3: score", "is not on the scale 1-5/0")
    assert "annotations pamela_test_seen.json entry 3: score is " in found(root)


@pytest.mark.parametrize("score", [None, float("nan"), ""])
def test_entries_without_a_score_are_dropped(tmp_path, score):
    root = make_pamela(tmp_path)
    n = len(read(root).rating_score)
    edit(root, lambda entries: entries[0].update(original_score=score))
    data = read(root)
    assert len(data.rating_score) == len(data.parts) == n - 1
    assert "1 rows without rater, image or score are dropped (pamela_train.json entry 1 first)" in data.notes


def test_a_missing_score_is_not_taken_from_another_field(tmp_path):
    def change(entry):
        entry["score"] = 1.0  # on 0 to 1
        if entry["participant_id"] == 101:
            entry["original_score"] = None

    data = read(make_pamela(tmp_path, change=change))
    assert "101" not in data.raters and data.rating_score.min() > 1
    assert any("rows without rater, image or score are dropped" in note for note in data.notes)
    only = make_pamela(tmp_path / "only", change=lambda entry: entry.__setitem__("score", entry.pop("original_score")))
    assert len(read(only).rating_score) == len(data.rating_score) + 12


def test_statistics_of_ratings_are_no_demographics(tmp_path):
    told = {"user_std": 0.3, "participant_mean": 3.2, "rater_count": 15, "user_mean_score": 3.1, "user_shoe_size": 44}
    profiles = read(make_pamela(tmp_path, change=lambda entry: entry.update(told))).profiles
    assert {name for profile in profiles for name in profile.known()} - {"age", "gender", "nationality", "art_experience"} == {"shoe_size"}


def test_no_metadata_is_noted(tmp_path):
    data = read(make_pamela(tmp_path, change=lambda entry: entry.__setitem__("image_metadata", json.dumps(entry["image_metadata"]))))
    assert not data.metadata and any(note.startswith("no entry has metadata of its image") for note in data.notes)
    assert not any("no entry has metadata" in note for note in read(make_pamela(tmp_path / "usual")).notes)


def test_a_slider_has_no_steps(tmp_path):
    assert "between the steps" not in found(make_pamela(tmp_path))


@pytest.mark.parametrize("name", ["participant_id", "original_score"])
def test_missing_fields_are_refused_with_the_keys_that_are_there(tmp_path, name):
    root = make_pamela(tmp_path, change=lambda one: one.update({f"my_{name}": one.pop(name)}))
    what = "rater" if name == "participant_id" else "score"
    message = refused(
        lambda: read(root), f"pamela_train.json has no field for the {what}", f"my_{name}", "image_metadata {group, type", "4 more"
    )
    assert "https://huggingface.co/datasets/bethgelab/PAMELA" in message
    assert f"pamela_test_unseen.json has no field for the {what}" in found(root)


def test_an_image_needs_an_id_or_a_path(tmp_path):
    def without(one, *names):
        return {key: value for key, value in one.items() if key not in names}

    by_path = read(make_pamela(tmp_path / "a", change=lambda one: without(one, "image_id")))
    by_id = read(make_pamela(tmp_path / "b", change=lambda one: without(one, "image_path")))
    assert by_path.image_ids[0] == "img_0000.png" and by_id.image_ids[0] == "img_0000"
    assert by_path.rating_score.tolist() == by_id.rating_score.tolist()
    root = make_pamela(tmp_path / "c", change=lambda one: without(one, "image_id", "image_path"))
    refused(lambda: read(root), "has no field for the image (imageid, imgid, imagepath)")


BROKEN = {
    "cut": ('[{"participant_id": 1', "is not valid JSON"),
    "text": ('"hello"', "holds no list of objects"),
    "numbers": ("[1, 2]", "holds no list of objects"),
    "two lists": ('{"a": [], "b": []}', "holds no list of objects"),
    "empty": ("[]", "holds no rating"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    content, message = BROKEN[case]
    root = make_pamela(tmp_path)
    (root / "annotations" / "pamela_val_seen.json").write_text(content)
    refused(lambda: read(root), "pamela_val_seen.json", message)
    assert message in found(root)


def test_not_utf_8(tmp_path):
    root = make_pamela(tmp_path)
    (root / "annotations" / "pamela_train.json").write_bytes(b'[{"participant_id": "\xe9"}]')
    refused(lambda: read(root), "pamela_train.json is not UTF-8 text")


def test_missing_files(tmp_path):
    refused(lambda: read(tmp_path / "nowhere"), "is not a folder: give the folder that holds PAMELA")
    refused(lambda: read(tmp_path), "has no annotations/pamela_train.json (or another part: val_seen", "1 more")
    make_pamela(tmp_path)
    (tmp_path / "images").rename(tmp_path / "pictures")
    refused(lambda: read(tmp_path), "has no folder images/")


def test_check_of_a_whole_release(tmp_path):
    root = make_pamela(tmp_path, n_seen=3, n_unseen=2, n_images=24)
    findings = datasets.check("pamela", root)
    assert [finding for finding in findings if finding.level != "info"] == []
    assert "5 raters, 24 rated images in 24 groups, 96 ratings on 1-5/0" in str(findings)
    assert "12 of 24 images have no style" in str(findings)
    result = beholder("data", "check", "pamela", "--root", root)
    assert result.exit_code == 0, result.stdout
    (root / "images" / "img_0001.png").write_text("no image")
    result = beholder("data", "check", "pamela", "--root", root, "--json")
    assert result.exit_code == 1 and "1 files cannot be opened as images (img_0001.png)" in result.stdout


def test_datasets_without_any_of_it_have_none():
    empty = np.zeros(0, dtype=np.int64)
    data = Dataset("d", Scale(), (), (), (), (), (), empty, empty, np.zeros(0))
    assert (data.prompts, data.metadata, data.parts, data.about(), data.rows(empty).parts) == ((), {}, (), {}, ())
