"""Batches of training examples: resumed exactly, grouped by rater, crossed, weighted by disagreement."""

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.personas import questions
from beholder.scorers.pmllm.example_table import TASKS
from beholder.scorers.pmllm.examples import Examples, build
from beholder.scorers.pmllm.sampler import BatchSampler
from example_worlds import Speaker, make_dataset


@pytest.fixture
def examples(tmp_path):
    return build(make_dataset(tmp_path), llm=Speaker())


@pytest.mark.parametrize("mode", ["shuffle", "crossed"])
@pytest.mark.parametrize("disagreement", [0.0, 1.0])
def test_a_resumed_run_gets_the_same_batches(examples, mode, disagreement):
    settings = {"batch_size": 24, "mode": mode, "raters_per_batch": 4, "disagreement": disagreement, "seed": 5}
    whole = list(BatchSampler(examples, **settings).batches(epochs=3))
    for start in (0, 1, len(whole) // 2, len(whole) - 1):
        rest = list(BatchSampler(examples, **settings).batches(epochs=3, start=whole[start][:2]))
        assert [(e, s) for e, s, _ in rest] == [(e, s) for e, s, _ in whole[start:]]
        assert all(np.array_equal(a[2], b[2]) for a, b in zip(rest, whole[start:], strict=True))
    other = BatchSampler(examples, **settings | {"seed": 6}).batch(0, 0)
    assert not np.array_equal(other, whole[0][2])
    assert not np.array_equal(whole[0][2], next(b for e, s, b in whole if (e, s) == (1, 0)))


@pytest.mark.parametrize("mode", ["shuffle", "crossed"])
def test_rows_of_a_rater_are_adjacent(examples, mode):
    for _, _, rows in BatchSampler(examples, batch_size=32, mode=mode).batches(epochs=1):
        assert (np.diff(examples.rater[rows]) >= 0).all()
        assert 0 < len(rows) <= 32


def test_shuffle_takes_every_example_once_per_epoch(examples):
    sampler = BatchSampler(examples, batch_size=7)
    rows = np.concatenate([rows for _, _, rows in sampler.batches(epochs=1)])
    assert np.array_equal(np.sort(rows), np.arange(len(examples)))
    assert sampler.steps_per_epoch == -(-len(examples) // 7)
    with pytest.raises(IndexError):
        sampler.batch(0, sampler.steps_per_epoch)


def test_crossed_batches_compare_raters_within_images(examples):
    sampler = BatchSampler(examples, batch_size=24, mode="crossed", raters_per_batch=4)
    kinds, company = [], []
    for _, _, rows in sampler.batches(epochs=4):
        kinds += examples.task[rows].tolist()
        assert len(set(rows.tolist())) == len(rows)
        if examples.task[rows[0]] == TASKS.index("piaa"):
            assert len(set(examples.question[rows].tolist())) == 1
            images = examples.image[rows]
            company.append(np.mean([(images == image).sum() > 1 for image in images]))
    assert np.mean(company) > 0.9
    plain = BatchSampler(examples, batch_size=24)
    by_chance = [
        np.mean([((examples.image[rows] == i) & (examples.question[rows] == q)).sum() > 1 for i, q in zip(examples.image[rows], examples.question[rows], strict=True)])
        for _, _, rows in plain.batches(epochs=1)
    ]
    assert np.mean(by_chance) < 0.5
    for task in range(len(TASKS)):  # all tasks keep about their share
        assert np.mean(np.array(kinds) == task) == pytest.approx(np.mean(examples.task == task), abs=0.08)


def test_crossed_batches_are_full_crossings_where_the_data_are():
    rater, image = (x.ravel() for x in np.meshgrid(np.arange(20), np.arange(15)))
    n = len(rater)
    zeros = np.zeros(n, dtype=np.int32)
    examples = Examples(zeros.astype(np.int8), rater, image, zeros, zeros, zeros, rater % 5, (questions.scoring(),), ("a",), ("ratings",), ("p",) * 20)
    for _, _, rows in BatchSampler(examples, batch_size=24, mode="crossed", raters_per_batch=6).batches(epochs=1):
        assert len(set(examples.rater[rows].tolist())) == 6
        assert len(set(examples.image[rows].tolist())) == 4


@pytest.mark.parametrize("mode", ["shuffle", "crossed"])
def test_images_on_which_raters_disagree_come_more_often(mode):
    random = np.random.default_rng(0)
    rater, image = (x.ravel() for x in np.meshgrid(np.arange(40), np.arange(30)))
    integer = np.where(image < 10, random.integers(0, 11, len(image)), 4 + random.integers(0, 3, len(image)))
    zeros = np.zeros(len(rater), dtype=np.int32)
    examples = Examples(zeros.astype(np.int8), rater, image, zeros, zeros, zeros, integer, (questions.scoring(),), ("a",), ("ratings",), ("p",) * 40)

    def share(power):
        batches = BatchSampler(examples, batch_size=24, mode=mode, disagreement=power).batches(epochs=4)
        return np.mean(np.concatenate([image[rows] < 10 for _, _, rows in batches]))

    assert share(0) == pytest.approx(1 / 3, abs=0.06)
    assert share(1) > 0.75


def test_sampler_settings_are_checked(examples):
    with pytest.raises(BeholderError, match="no sampling mode 'cross': choose shuffle or crossed"):
        BatchSampler(examples, mode="cross")
    with pytest.raises(BeholderError, match="at least 1"):
        BatchSampler(examples, batch_size=0)
    with pytest.raises(BeholderError, match="no training example"):
        BatchSampler(examples.rows([]))
