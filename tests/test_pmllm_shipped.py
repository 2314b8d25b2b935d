"""The P-MLLM that comes with the package: the embedded language model and encoder, end to end. Unpacking the language model takes a while, so: one test."""

import numpy as np
import pytest
from PIL import Image

import beholder
from beholder.personas.questions import parse_integer
from beholder.scorers.feature_scorer import SHIPPED


@pytest.fixture
def photos(tmp_path):
    """A meadow under a sky, the same in grey, and noise."""
    random = np.random.default_rng(0)
    meadow = np.zeros((240, 320, 3), dtype=np.uint8)
    meadow[:140] = (90, 150, 230)
    meadow[140:] = (60, 160, 50)
    pictures = {
        "meadow": meadow,
        "grey": np.repeat(meadow.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
        "noise": random.integers(0, 256, (240, 320, 3), dtype=np.uint8),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in pictures]


def test_the_shipped_models_score_photographs_for_a_profile(photos):
    young = beholder.Rater(profile=beholder.Profile(age=21, gender="female", education="some college"))
    old = beholder.Rater(profile=beholder.Profile(age=64, gender="male", education="graduate degree"))
    nobody = beholder.Rater()
    for name in ("pmllm", "pmllm-s"):
        with beholder.load(name) as eye:
            scores = [np.array([p.score for p in eye.score(photos, rater=rater)]) for rater in (young, old, nobody)]
            widths = np.array([p.high - p.low for p in eye.score(photos, rater=young)])
            assert all(((found >= 1) & (found <= 5)).all() for found in scores)
            assert np.ptp(scores[0]) > 0.05  # the image matters
            assert np.abs(scores[0] - scores[1]).max() > 0.01 and np.abs(scores[0] - scores[2]).max() > 0.01  # and the profile
            assert (widths > 1).all() and (widths <= 4).all()
            together = eye.scorer.predict_many([(photos, young), (photos[::-1], old)])
            difference = max(np.abs(together[0].score - scores[0]).max(), np.abs(together[1].score[::-1] - scores[1]).max())
            print(f"{name}: alone against together {difference:.2g}")
            assert difference < 0.05  # bfloat16, where the processor has it
        if name == "pmllm":
            with beholder.load("pmllm[read=integer,dtype=float32]") as exact:
                scale = beholder.Scale(1, 7)
                asked = beholder.Rater(profile=young.profile, ratings=beholder.Ratings(scale=scale))
                read = [p.score for p in exact.score(photos, rater=asked)]
                written = [exact.scorer.answer(photo, asked) for photo in photos]
                question = exact.scorer.prompter.question()
                assert read == [parse_integer(text, question) for text in written]


def test_the_shipped_weights_are_small_and_hold_only_what_was_trained():
    from safetensors import safe_open

    total = 0
    for name in ("pmllm", "pmllm-s"):
        file = SHIPPED / name / "model.safetensors"
        total += file.stat().st_size
        with safe_open(file, framework="np") as tensors:
            assert all(key == "seen" or key.split(".")[0] in ("projector", "fusion") for key in tensors.keys())  # noqa: SIM118
        assert "Trained on" in (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert total < 20 << 20
