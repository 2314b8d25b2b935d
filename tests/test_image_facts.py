"""The stand-in for captions: measured statistics of pictures that are known, and the sentences made of them."""

import sys
import types

import numpy as np
import pytest

from beholder.scorers.pmllm import image_facts
from beholder.scorers.pmllm.examples import ExamplesConfig, build
from example_worlds import N_IMAGES, make_dataset, table


def flat(color, shape=(40, 60)):
    return np.full((*shape, 3), color, dtype=np.uint8)


def test_statistics_of_known_pictures():
    facts = image_facts.measure(flat((255, 255, 255)))
    assert (facts.brightness, facts.contrast, facts.colourfulness, facts.sharpness) == pytest.approx((1, 0, 0, 0), abs=1e-9)
    assert (facts.hue, facts.hue_share) == ("", 0)
    red = image_facts.measure(flat((255, 0, 0)))
    assert (red.hue, red.hue_share) == ("red", 1.0)
    assert red.colourfulness == pytest.approx(0.3 * np.hypot(255, 127.5))  # Hasler & Suesstrunk: no spread, only the means
    assert red.brightness == pytest.approx(0.2126)
    half = flat((0, 0, 0))
    half[:20] = 255
    facts = image_facts.measure(half)
    assert (facts.contrast, facts.upper_light) == (pytest.approx(0.5), pytest.approx(1))


@pytest.mark.parametrize(
    ("color", "hue"),
    [((255, 0, 30), "red"), ((255, 128, 0), "orange"), ((250, 240, 0), "yellow"), ((0, 200, 20), "green"), ((0, 255, 255), "cyan"), ((10, 40, 255), "blue"),
     ((130, 0, 255), "violet"), ((255, 0, 230), "magenta")],
)  # fmt: skip
def test_hues(color, hue):
    assert image_facts.measure(flat(color)).hue == hue


def test_sentences():
    random = np.random.default_rng(0)
    pixels = flat((20, 30, 90), (60, 40))
    pixels[20:40, 13:27] = random.integers(0, 256, (20, 14, 1))
    text = image_facts.sentence(image_facts.measure(pixels), labels=("lakeside", "grey whale"), group="sea side")
    assert text == (
        "An image of the subject sea side, very dark, with moderate contrast, in portrait format. It seems to show: lakeside, grey whale. "
        "It is moderately colorful, mostly blue, and rich in fine detail. The detail is in the center; around it the image is softer."
    )
    assert image_facts.sentence(image_facts.measure(flat((128, 128, 128), (30, 30)))) == (
        "An image, of medium brightness, with low contrast, in square format. It is without color, and very soft."
    )


def test_labels_and_groups_are_in_the_stand_in(tmp_path):
    dataset = make_dataset(tmp_path)
    labels = [("boat",)] * N_IMAGES
    rows = {e.image: e.answer for e in table(build(dataset, config=ExamplesConfig(types=("caption",)), labels=labels))}
    assert rows[1].startswith("An image of the subject sea side, ")
    assert rows[0].startswith("An image, ")  # its group is the image itself
    assert all("It seems to show: boat." in text for text in rows.values())


def test_top_classes():
    logits = np.log([[0.05, 0.7, 0.25], [0.34, 0.33, 0.33]])
    names = ("a", "b_c", "d")
    assert image_facts.top_classes(logits, names=names) == [("b c", "d"), ("a", "b c", "d")]
    assert image_facts.top_classes(logits, names=names, most=1, least=0.5) == [("b c",), ()]
    assert image_facts.top_classes(logits, names=()) == [(), ()]


def test_class_names_come_from_torchvision_if_it_is_there(monkeypatch):
    weights = types.SimpleNamespace(IMAGENET1K_V1=types.SimpleNamespace(meta={"categories": ["tench", "goldfish"]}))
    monkeypatch.setitem(sys.modules, "torchvision.models", types.SimpleNamespace(EfficientNet_B0_Weights=weights))
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace())
    assert image_facts.class_names() == ("tench", "goldfish")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    assert image_facts.class_names() == ()
