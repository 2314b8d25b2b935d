"""Which features a scorer gets: of one encoder, of several together, of a model it names; and the model of a run put into names."""

from dataclasses import dataclass

import numpy as np
import pytest

from beholder.engine.source import Features, JointFeatures
from beholder.errors import BeholderError
from beholder.features import FeatureStore
from beholder.scorers import load, make, scorer_class
from beholder.scorers.base import Scorer
from beholder.scorers.feature_sources import encoder_names, sources, with_model
from command_line import beholder, one_sentence, refused
from image_files import picture

SMALL, TINY = "efficientnet-lite0[size=128]", "efficientnet-lite0[size=64]"


class Sees(Scorer):
    """A scorer with a model of its own."""

    name = "sees"

    @dataclass(frozen=True)
    class Options:
        model: str = ""
        layer: str = "pool"
        max_pixels: int = 64

    def __init__(self, *, features, options=None):
        self.features, self.options = features, options or self.Options()

    predict = fit = None  # nobody asks it anything here


HERE = "test_feature_sources:Sees"


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        picture(120, 90, seed=i).save(path)
    return [str(path) for path in paths]


def test_several_encoders_are_put_side_by_side(photos):
    joint = sources(["population"], encoder=f"{SMALL}+{TINY}").by_name["population"]
    alone = [sources(["population"], encoder=name).by_name["population"] for name in (SMALL, TINY)]
    assert isinstance(joint, JointFeatures) and joint.dim == 2 * alone[0].dim
    assert np.array_equal(joint(photos), np.hstack([one(photos) for one in alone]))
    assert joint.key == f"{alone[0].key} + {alone[1].key}"
    assert [columns.stop - columns.start for columns in joint.layers.values()] == [
        columns.stop - columns.start for one in alone for columns in one.layers.values()
    ]
    assert list(joint.layers.values())[-1].stop == joint.dim


def test_layers_of_the_same_name_are_told_apart(photos):
    joint = sources([HERE], encoder=f"{SMALL}+{TINY}").by_name[HERE]
    assert len(joint.layers) == 2 * len(sources([HERE], encoder=TINY).by_name[HERE].layers)
    assert all(name.startswith(("efficientnet-lite0/squash128", "efficientnet-lite0/squash64")) for name in joint.layers)


def test_each_encoder_finds_its_part_in_the_store(photos, tmp_path):
    store = FeatureStore(tmp_path / "store")
    apart = sources(["population"], encoder=TINY, store=store).by_name["population"]
    apart(photos)
    joint = sources(["population"], encoder=f"{SMALL}+{TINY}", store=store).by_name["population"]
    assert joint.index(photos).n_computed == len(photos)  # those of the other encoder only
    assert joint.index(photos).n_computed == 0


def test_a_photograph_that_cannot_be_read_is_skipped_for_all(photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    joint = sources(["population"], encoder=f"{SMALL}+{TINY}").by_name["population"]
    found = joint.index([photos[0], str(broken), photos[1], photos[0]])
    assert [one.path for one in found.skipped] == [str(broken)]
    assert np.array_equal(found.features, joint(found.images)) and photos[1] in found.images
    joint.keep(found.images, found.features)
    assert np.array_equal(joint(photos[:2]), np.stack([found.features[found.images.index(photo)] for photo in photos[:2]]))


def test_an_eye_ranks_with_two_encoders(photos):
    with load("linear-hidden", encoder=f"{SMALL}+{TINY}") as eye:
        seen = []
        assert len(eye.rank(photos, progress=lambda done, total: seen.append((done, total)))) == len(photos)
    assert seen[-1] == (10, 10)


def test_scorers_that_want_the_same_share_it():
    found = sources(["population", "taste", HERE], encoder=TINY)
    assert found.by_name["population"] is found.by_name["taste"] and len(found.encoders) == 1
    assert set(found.encoders[0].layers) >= {layer for source in found.by_name.values() for layer in source.layers}


def test_a_scorer_that_names_a_model_reads_its_layers():
    name = f"{HERE}[model=efficientnet-lite0,layer=block14+pool]"
    found = sources([name, "population"], encoder=TINY)
    assert list(found.by_name[name].layers) == ["block14", "pool"] and isinstance(found.by_name[name], Features)
    assert len(found.encoders) == 2


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        (HERE, "m", f"{HERE}[model=m]"),
        (HERE, "m[layer=block14,other=1]", f"{HERE}[model=m,layer=block14]"),
        (f"{HERE}[layer=pool]", "m[layer=block14]", f"{HERE}[layer=pool,model=m]"),
        (f"{HERE}[model=n]", "m", f"{HERE}[model=n]"),
        (HERE, None, HERE),
        ("population", "m", "population"),
    ],
)
def test_the_model_of_a_run_goes_to_scorers_that_take_one(name, model, expected):
    assert with_model(name, model) == expected


def test_a_model_folder_with_odd_signs_is_one_name(tmp_path):
    folder = tmp_path / "a[b]+c"
    folder.mkdir()
    assert encoder_names(folder) == [str(folder)]
    assert encoder_names("a+b[layer=x+y] + c") == ["a", "b[layer=x+y]", "c"]


def test_wrong_names_are_refused_in_one_sentence():
    with pytest.raises(BeholderError, match="lacks a name beside a \\+"):
        sources(["population"], encoder=f"{TINY}+")
    with pytest.raises(BeholderError, match="reads the tokens of one encoder, not of 2"):
        sources(["pmllm"], encoder=f"{TINY}+{SMALL}")


def test_options_reach_a_scorer_made_with_the_model():
    scorer = make(with_model(HERE, "m[max_pixels=9]"), features=None)
    assert scorer_class(HERE) is type(scorer) and scorer.options.model == "m" and scorer.options.max_pixels == 9


def test_help_names_every_scorer():
    from beholder.cli.options import ScorerName
    from beholder.scorers import SCORERS

    (option,) = ScorerName.__metadata__
    assert [name for name in SCORERS if name not in option.help.replace(",", " ").split()] == []


def test_the_same_encoder_twice_is_refused():
    refused(lambda: sources(["taste"], encoder="efficientnet-lite0+efficientnet-lite0"), "twice")


def test_a_model_for_a_scorer_that_takes_none_is_refused(tmp_path):
    result = beholder("train", "taste", "--data", tmp_path, "--out", tmp_path / "out", "--model", "beholder-mini")
    assert result.exit_code == 2 and "takes none" in one_sentence(result.stderr)


def test_a_scorer_on_pixels_has_no_encoder_look_at_them():
    from beholder.backbones.no_encoder import NoEncoder

    found = sources(["ici[backbone=efficientnet-lite0]", "ici"], encoder=TINY)
    kinds = [isinstance(source.encoder, NoEncoder) for source in found.by_name.values()]
    assert kinds == [True, False]
