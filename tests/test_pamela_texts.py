"""`pamela` with a ridge: what prompts and metadata tell of how everybody likes an image, and that it counts only where it helps and is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from beholder.about import About
from beholder.rater import Rater
from beholder.scorers.pamela.scorer import PamelaScorer
from beholder.scorers.pamela.text_effects import learn_text_effects
from pamela_worlds import N_NEW_IMAGES, QUICK, HashEncoder, fitted, new_images, person, planted, training_part, using

OIL = np.array(["oil" in prompt for prompt in planted()[0].prompts[-N_NEW_IMAGES:]])


@pytest.fixture(autouse=True)
def hash_encoder(monkeypatch):
    monkeypatch.setattr("beholder.scorers.pamela.texts.TextEncoder", HashEncoder)


def told(scorer: PamelaScorer, about: dict[str, About] | None = None) -> PamelaScorer:
    again = using(scorer)
    again.tell(planted()[0].about() if about is None else about)
    return again


def shift_of_oil(scorer: PamelaScorer, rater: Rater) -> float:
    """How much better oil paintings are scored, on 1 to 7, when prompts and metadata are told; planted is .7."""
    difference = told(scorer).predict(new_images(), rater).score - scorer.predict(new_images(), rater).score
    known = np.array([bool(planted()[0].about()[name].metadata) for name in new_images()])
    return float(difference[OIL & known].mean() - difference[~OIL & known].mean())


def shared_error(scorer: PamelaScorer) -> float:
    """Of the scores of nobody in particular, against what all raters say on average."""
    found = scorer.predict(new_images(), Rater()).score
    return float(np.var(found - planted()[2][:, -N_NEW_IMAGES:].mean(0)))


def with_noise_texts(*, prompts: bool = True):
    """The training part with texts that say nothing: each image has those of another one."""
    dataset = planted()[0]
    order = np.random.default_rng(3).permutation(len(dataset.images))
    metadata = {"style": tuple(dataset.metadata["style"][i] for i in order)}
    return training_part(replace(dataset, prompts=tuple(dataset.prompts[i] for i in order) if prompts else (), metadata=metadata))


# --- what is learned


def test_the_main_effect_of_prompts_is_learned_and_lost_without_them():
    prompts = fitted(replace(QUICK, metadata=False))
    assert 0.4 < shift_of_oil(prompts, Rater()) < 0.9
    assert shift_of_oil(prompts, person(55, 15)) > 0.4
    assert shared_error(told(prompts)) < 0.7 * shared_error(prompts)
    deaf = fitted(replace(QUICK, prompts=False, metadata=False))
    assert deaf.model.texts is None and deaf.trained["text_gain"] is None
    assert shift_of_oil(deaf, Rater()) == 0
    assert shared_error(told(prompts)) < 0.7 * shared_error(deaf)


def test_the_main_effect_of_metadata_is_learned_and_lost_without_it():
    metadata = fitted(replace(QUICK, prompts=False))
    assert 0.4 < shift_of_oil(metadata, Rater()) < 0.9
    assert shared_error(told(metadata)) < 0.8 * shared_error(metadata)
    both = fitted(QUICK)
    assert both.model.texts.means.shape == (2, HashEncoder.dim) and both.trained["text_gain"] > 0.1
    assert 0.4 < shift_of_oil(both, Rater()) < 0.9


def test_the_image_part_is_the_same_with_and_without_texts():
    both, deaf = fitted(QUICK), fitted(replace(QUICK, prompts=False, metadata=False))
    np.testing.assert_array_equal(both.model.inputs.coefficients, deaf.model.inputs.coefficients)
    assert both.model.inputs.intercept == deaf.model.inputs.intercept
    features = planted()[1](new_images())
    inputs, effects = both.model.inputs(features)
    for about in (None, About(), About(metadata={"painter": "unheard of"})):
        same = both.model.with_texts(inputs, effects, [about] * len(features), both._vectors)
        np.testing.assert_array_equal(same[0], inputs)
        np.testing.assert_array_equal(same[1], effects)
    known = both.model.with_texts(inputs, effects, [About("a oil of something")] * len(features), both._vectors)
    np.testing.assert_allclose(known[0][:, -1], known[1] / both.model.inputs.spread, rtol=1e-6)
    assert (known[1] > effects + 0.03).all()
    np.testing.assert_array_equal(told(both, {}).predict(new_images(), Rater()).score, both.predict(new_images(), Rater()).score)


def test_texts_that_say_nothing_are_not_used():
    """And then everything learned is as it would be if there were no second ridge at all."""
    scorer = PamelaScorer(features=planted()[1], options=QUICK).fit(with_noise_texts())
    assert scorer.model.texts is None and scorer.trained["text_gain"] is None
    assert not any(name.startswith("text_") for name in scorer.model.tensors())
    inputs, effects = scorer.model.inputs(planted()[1](new_images()))
    assert scorer.model.with_texts(inputs, effects, [About("a oil of something")] * len(inputs), scorer._vectors)[1] is effects


def test_one_constant_text_is_not_used():
    dataset = training_part()
    constant = replace(dataset, prompts=(), metadata={"kind": ("picture",) * len(dataset.images)})
    assert PamelaScorer(features=planted()[1], options=replace(QUICK, epochs=1)).fit(constant).model.texts is None


def test_without_a_ridge_there_is_none_on_texts():
    assert fitted(replace(QUICK, base="none")).model.texts is None


def test_what_is_measured_on_raters_kept_aside_knows_the_texts():
    """Intervals are narrower if texts explain part of what varies."""
    both, deaf = fitted(QUICK), fitted(replace(QUICK, prompts=False, metadata=False))
    assert both.model.widths[0] < 0.97 * deaf.model.widths[0]


# --- the second ridge alone


def world(n: int = 300, *, sd: float = 1.0, seed: int = 0):
    """Vectors of 1 + 40 texts, texts of two kinds [n, 2] (a fifth unknown), what they add, and that with noise."""
    random = np.random.default_rng(seed)
    words = random.standard_normal((41, 16)).astype(np.float32)
    words[0] = 0
    texts = np.column_stack([random.integers(1, 37, n), random.integers(37, 41, n)])
    texts[random.random(texts.shape) < 0.2] = 0
    true = np.where(texts > 0, sd * (words @ random.standard_normal(16) / 4)[texts], 0).sum(1)
    return words, texts, true, true + 0.5 * random.standard_normal(n)


def test_planted_effects_of_texts_are_recovered_and_left_out_guesses_are_honest():
    words, texts, true, rest = world()
    rest = rest - rest.mean()
    learned = learn_text_effects(words, texts, rest, groups=np.arange(len(rest)))
    found = learned.effects(words[texts], texts > 0)
    assert np.corrcoef(found, true)[0, 1] > 0.9
    assert ((rest - found) ** 2).mean() < ((rest - learned.left_out) ** 2).mean() < 0.6 * (rest**2).mean()
    assert learned.gain == pytest.approx(1 - ((rest - learned.left_out) ** 2).sum() / (rest**2).sum())
    nothing = learned.effects(words[np.zeros_like(texts)], np.zeros_like(texts, dtype=bool))
    np.testing.assert_array_equal(nothing, 0)
    half = learned.effects(words[texts], (texts > 0) & np.array([True, False]))
    other = learned.effects(words[texts], (texts > 0) & np.array([False, True]))
    np.testing.assert_allclose(half + other, found, atol=1e-12)


def test_noise_is_refused():
    for seed in range(20):
        words, texts, _, rest = world(sd=0.0, seed=seed)
        assert learn_text_effects(words, texts, rest, groups=np.arange(len(rest))) is None


def test_texts_that_only_name_the_group_are_refused():
    """Within a group images are alike, whatever its text: what is learned of it helps no other group."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 15)
    words = np.concatenate([np.zeros((1, 32)), random.standard_normal((20, 32))])
    rest = random.standard_normal(20)[groups] + 0.1 * random.standard_normal(300)
    assert learn_text_effects(words, groups[:, None] + 1, rest, groups=groups) is None
    assert learn_text_effects(words, groups[:, None] + 1, rest, groups=random.permutation(groups)) is not None


# --- keeping


def test_saved_and_loaded_the_texts_count_the_same(tmp_path):
    scorer = fitted(QUICK)
    folder = scorer.save_pretrained(tmp_path / "w")
    again = PamelaScorer.from_pretrained(folder, features=planted()[1])
    again.tell(planted()[0].about())
    for rater in (Rater(), person(55, 15), person(3, known=True)):
        a, b = again.predict(new_images(), rater), told(scorer).predict(new_images(), rater)
        np.testing.assert_allclose(a.score, b.score, atol=1e-6)
    assert "in the base: used" in (folder / "README.md").read_text()
    deaf = fitted(replace(QUICK, prompts=False, metadata=False)).save_pretrained(tmp_path / "deaf")
    assert "in the base: not used" in (deaf / "README.md").read_text()


def test_weights_without_effects_of_texts_have_none():
    model = fitted(QUICK).model
    tensors = {name: value for name, value in model.tensors().items() if not name.startswith("text_")}
    old = type(model).from_tensors(model.config(), tensors, device="cpu")
    assert old.texts is None
    with pytest.raises(ValueError, match="effects of texts"):
        broken = model.tensors() | {"text_means": model.texts.means[:1], "text_coefficients": model.texts.coefficients[:1]}
        type(model).from_tensors(model.config(), broken, device="cpu")


def test_answers_alone_and_together_are_the_same_when_texts_count():
    scorer = told(fitted(QUICK))
    together = scorer.predict_many([(new_images(), Rater()), (new_images()[:3], person(55, 15))])
    alone = [scorer.predict([name], Rater()).score[0] for name in new_images()[:4]]
    np.testing.assert_allclose(alone, together[0].score[:4], atol=1e-5)
    np.testing.assert_allclose(scorer.predict(new_images()[:3], person(55, 15)).score, together[1].score, atol=1e-5)
