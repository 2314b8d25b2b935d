"""Inventories: the shipped items, scores from answers, files of one's own, norms."""

import csv
import json

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.personas.inventory import BUILT_IN, NOTICE, Inventory, Item, load_inventory, norms, out_of_ten, percentile
from beholder.profile import BIG_FIVE

MINI_LETTERS = "EACNO" * 4  # Donnellan et al. 2006, appendix
MINI_REVERSED = {6, 7, 8, 9, 10, 15, 16, 17, 18, 19, 20}
POSITIVE_OF_TEN = {"extraversion": 5, "agreeableness": 6, "conscientiousness": 6, "neuroticism": 8, "openness": 7}  # ipip.ori.org/newBigFive5broadKey.htm
TRAIT = {trait[0].upper(): trait for trait in BIG_FIVE}


def test_mini_ipip_is_the_published_list():
    mini = load_inventory()
    assert mini == load_inventory("mini-ipip") and len(mini.items) == 20
    assert {number for number, item in enumerate(mini.items, start=1) if item.reverse} == MINI_REVERSED
    assert mini.items[0].statement == "I am the life of the party." and mini.items[8].statement == "I am relaxed most of the time."
    assert mini.items[19].statement == "I do not have a good imagination." and mini.items[10].statement.endswith("different people at parties.")
    assert [item.trait for item in mini.items] == [TRAIT[letter] for letter in MINI_LETTERS]


def test_ipip_50_has_ten_items_a_trait_keyed_as_published():
    full = load_inventory("ipip-50")
    assert len(full.items) == 50 and len({item.name for item in full.items}) == 50
    for trait, positive in POSITIVE_OF_TEN.items():
        items = [item for item in full.items if item.trait == trait]
        assert len(items) == 10 and sum(not item.reverse for item in items) == positive
    assert set(load_inventory().items) < set(full.items)


@pytest.mark.parametrize("name", BUILT_IN)
def test_texts_are_whole_and_each_is_asked_once(name):
    inventory = load_inventory(name)
    assert inventory.notice == NOTICE and "public domain" in inventory.source
    for item in inventory.items:
        assert item.statement.startswith("I ") and item.statement.endswith(".")
        assert item.question.endswith("?") and item.question.strip() == item.question
    assert len({item.question for item in inventory.items}) == len({item.statement for item in inventory.items}) == len(inventory.items)


def test_agreeing_as_the_keys_say_is_the_highest_score_and_the_opposite_the_lowest():
    for name in BUILT_IN:
        inventory = load_inventory(name)
        reverse = np.array([item.reverse for item in inventory.items])
        np.testing.assert_allclose(inventory.trait_scores(np.where(reverse, 1, 5)), 10)
        np.testing.assert_allclose(inventory.trait_scores(np.where(reverse, 5, 1)), 1)
        np.testing.assert_allclose(inventory.trait_scores(np.full(len(reverse), 3)), 5.5)


def test_calm_answers_are_low_neuroticism():
    """The IPIP keys these towards Emotional Stability; here they count against neuroticism."""
    mini = load_inventory()
    answers = np.full(20, np.nan)
    answers[[item.statement for item in mini.items].index("I am relaxed most of the time.")] = 5
    answers[[item.statement for item in mini.items].index("I get upset easily.")] = 2
    np.testing.assert_allclose(mini.trait_means(answers), [np.nan, np.nan, np.nan, np.nan, 1.5])


def test_scores_by_hand_with_missing_answers_and_any_leading_shape():
    items = (Item("a", "openness", "", "?", False), Item("b", "openness", "", "?", True), Item("c", "neuroticism", "", "?", True))
    inventory = Inventory("three", items)
    answers = np.array([[[5, 2, 1], [4, np.nan, np.nan]]], dtype=float)
    means = inventory.trait_means(answers)
    assert means.shape == (1, 2, 5)
    np.testing.assert_allclose(means[0], [[4.5, np.nan, np.nan, np.nan, 5], [4, np.nan, np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(inventory.trait_scores(answers), out_of_ten(means))
    np.testing.assert_allclose(out_of_ten(np.array([1, 3, 4.5, 5])), [1, 5.5, 8.875, 10])
    for wrong in (np.ones(2), np.array([0.5, 1, 1]), np.array([1, 1, 6])):
        with pytest.raises(ValueError):
            inventory.trait_scores(wrong)


def test_key_changes_with_what_is_asked_and_not_with_names():
    one = Item("a", "openness", "I think.", "What do you think?", False)
    other = Item("b", "openness", "I sleep.", "How do you sleep?", True)
    key = Inventory("x", (one, other)).key
    assert key == Inventory("y", (Item("c", one.trait, one.statement, one.question, False), other), source="z").key
    changed = [Item("a", "neuroticism", "I think.", "What do you think?", False), Item("a", "openness", "I think.", "What do you think?", True)]
    changed += [Item("a", "openness", "I thought.", "What do you think?", False), Item("a", "openness", "I think.", "Do you think?", False)]
    keys = {key, Inventory("x", (other, one)).key, *(Inventory("x", (item, other)).key for item in changed)}
    assert len(keys) == 6


def write_csv(path, *rows, columns=("trait", "question", "reverse")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_own_items_from_csv_and_json_are_the_same(tmp_path):
    rows = [("Openness", "What do you read?", "no", "I read.", "r"), ("neuroticism", "How do you sleep?", "TRUE", "", "")]
    table = write_csv(tmp_path / "mine.csv", *rows, columns=("trait", "question", "Reverse", "statement", "name"))
    mine = load_inventory(table)
    assert mine.items == (Item("r", "openness", "I read.", "What do you read?", False), Item("item2", "neuroticism", "", "How do you sleep?", True))
    assert mine.name == "mine" and mine.notice == ""
    as_json = [{"trait": "openness", "question": "What do you read?", "reverse": False, "statement": "I read.", "name": "r"}]
    as_json.append({"trait": "neuroticism", "question": "How do you sleep?", "reverse": 1})
    for value in (as_json, {"name": "Mine", "source": "me", "items": as_json}):
        (tmp_path / "mine.json").write_text(json.dumps(value), encoding="utf-8")
        loaded = load_inventory(tmp_path / "mine.json")
        assert loaded.items == mine.items and loaded.key == mine.key
    assert (loaded.name, loaded.source) == ("Mine", "me")


def test_no_such_inventory_names_those_that_there_are():
    with pytest.raises(BeholderError, match=r"no inventory 'bfi': choose mini-ipip or ipip-50, or give a CSV or JSON file"):
        load_inventory("bfi")


@pytest.mark.parametrize(
    ("columns", "rows", "sentence"),
    [
        (("trait", "question"), [("openness", "Why?")], "line 2: reverse is missing: there is trait, question; give trait, question, reverse"),
        (("trait", "question", "reverse"), [("courage", "Why?", "no")], "line 2: trait = 'courage' is not one of openness, conscientiousness"),
        (("trait", "question", "reverse"), [("openness", "Why?", "maybe")], "reverse = 'maybe' is neither yes, true, 1 nor no, false, 0"),
        (("trait", "question", "reverse"), [("openness", "Why?", "")], "reverse = '' is neither"),
        (("trait", "question", "reverse"), [("openness", "Why?", "no"), ("openness", " ", "no")], "line 3: the question is empty"),
        (("trait", "question", "reverse"), [], "has no items"),
        (("name", "trait", "question", "reverse"), [("a", "openness", "Why?", "no")] * 2, "line 3: there are two items named 'a'"),
    ],
)
def test_items_that_are_none_are_refused_with_their_line(tmp_path, columns, rows, sentence):
    path = write_csv(tmp_path / "mine.csv", *rows, columns=columns)
    with pytest.raises(BeholderError) as refused:
        load_inventory(path)
    assert sentence in str(refused.value) and "mine.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{", "not valid JSON"),
        ("3", "is not a list of items"),
        ('{"items": {"a": 1}}', "is not a list of items"),
        ("[]", "has no items"),
        ('[{"trait": "openness", "reverse": false}]', "item 1: question is missing"),
        ('[{"trait": "openness", "question": null, "reverse": false}]', "item 1: the question is empty"),
        ('[{"trait": "openness", "question": "Why?", "reverse": 2}]', "item 1: reverse = 2 is neither"),
    ],
)
def test_json_that_is_no_inventory_is_refused(tmp_path, text, sentence):
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BeholderError) as refused:
        load_inventory(path)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_percentiles_are_50_at_the_mean_and_rise():
    reference = norms()
    assert reference.n > 1000 and reference.source and "not a sample" in reference.sample
    for trait in BIG_FIVE:
        mean, sd = reference.mean[trait], reference.sd[trait]
        assert 1 < mean < 5 and 0.5 < sd < 1.5
        assert percentile(trait, mean, norms=reference) == pytest.approx(50)
        assert percentile(trait, mean + sd, norms=reference) == pytest.approx(84.134, abs=0.01)
        values = [percentile(trait, value, norms=reference) for value in np.linspace(1, 5, 17)]
        assert np.all(np.diff(values) > 0) and 0 < values[0] < values[-1] < 100
