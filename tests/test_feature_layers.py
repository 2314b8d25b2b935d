"""Which layers of which encoder a scorer gets, from its name and the encoder's; with options in brackets; several scorers at once."""

import json

import numpy as np
import pytest

from beholder import scorers
from beholder.backbones import load_encoder
from beholder.backbones.no_encoder import NoEncoder
from beholder.backbones.weights import EMBEDDED
from beholder.scorers import encoder_for, feature_layers
from command_line import beholder, make_photos, one_sentence
from stub_scorers import Stub
from test_cli import folder_dataset

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(EMBEDDED["efficientnet-lite0"].path is None, reason=f"run  {EMBEDDED['efficientnet-lite0'].pip}")

TASTE_LAYERS = [layer + scale for scale in ("", "@half") for layer in ("pool", "max", "block10", "block14", "block15")]
STUB, ANY, TOKENS = "stub_scorers:Stub", "test_feature_layers:AnyFeatures", "test_feature_layers:TokenStub"
SEEN = {}


class AnyFeatures(Stub):
    """Has no wishes."""

    name = "any"
    feature_layers = None

    def predict(self, images, rater):
        SEEN[self.name] = (dict(self.features.layers), dict(self.features.token_widths), self.features.key)
        return super().predict(images, rater)


class TokenStub(AnyFeatures):
    """Reads an image as a row of tokens."""

    name = "tokens"
    token_scorer = True
    feature_layers = ("pool",)


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """The folder of a small random CLIP: 4 x 4 patches of 16 values, 12 after the projection."""
    folder = tmp_path_factory.mktemp("towers") / "small-clip"
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=12)
    transformers.CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    settings = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.mark.parametrize("options", ["", "[device=cpu]", "[size=128]"])
def test_layers_of_the_default_encoder(options):
    encoder = "EfficientNet-Lite0" + options
    assert feature_layers("taste", encoder=encoder) == TASTE_LAYERS
    assert feature_layers(STUB, encoder=encoder) == ["block10", "pool"]
    assert feature_layers(ANY, encoder=encoder) == list(load_encoder().layers)
    assert feature_layers(TOKENS, encoder=encoder) == ["map@half"]
    assert list(encoder_for([STUB, TOKENS], encoder=encoder).layers) == ["block10", "pool", "map@half"]
    assert list(encoder_for([ANY, TOKENS], encoder=encoder).layers) == [*load_encoder().layers, "map@half"]


def test_layers_of_a_tower(tower):
    for encoder in (tower, f"{tower}[fit=pad]"):
        for name in ("taste", STUB, ANY):
            assert feature_layers(name, encoder=encoder) == ["pool", "patches_mean"]
        assert feature_layers(TOKENS, encoder=encoder) == ["tokens"]
        assert encoder_for(["taste", ANY], encoder=encoder).layers == {"pool": 12, "patches_mean": 16}
        assert encoder_for([TOKENS], encoder=encoder).layers == {"tokens": 256}
        both = encoder_for([TOKENS, "taste"], encoder=encoder)
        assert both.layers == {"tokens": 256, "pool": 12, "patches_mean": 16} and both.token_widths == {"tokens": 16}


def test_scorers_that_look_at_no_image_want_no_layers(tower):
    assert feature_layers("single-stage", encoder=tower) is None
    assert isinstance(encoder_for(["single-stage"], encoder=tower), NoEncoder)
    assert list(encoder_for(["single-stage", TOKENS], encoder=tower).layers) == ["tokens"]


def test_bench_gives_each_scorer_its_own_layers(tower, tmp_path):
    root = folder_dataset(tmp_path / "data")
    run = ["bench", "folder", "--root", root, "--shots", "0", "--folds", "2", "--no-controls", "--json"]
    cases = {
        f"{tower}[fit=pad]": ({"pool": 12, "patches_mean": 16}, {"tokens": 256}, {"tokens": 16}, "-pad/"),
        "efficientnet-lite0[size=64]": (dict(load_encoder(size=64).layers), {"map@half": 1280}, {"map@half": 1280}, "/squash64-"),
    }
    for encoder, (plain, tokens, widths, preprocessing) in cases.items():
        SEEN.clear()
        result = beholder(*run, "--scorer", f"{ANY},{TOKENS},{STUB}", "--encoder", encoder)
        assert result.exit_code == 0, result.stderr
        for name, expected, its_widths in (("any", plain, {}), ("tokens", tokens, widths)):
            layers, found_widths, key = SEEN[name]
            assert {layer: columns.stop - columns.start for layer, columns in layers.items()} == expected
            assert found_widths == its_widths and preprocessing in key


def test_encoder_options_on_the_command_line(tower, tmp_path):
    root, weights = folder_dataset(tmp_path / "data"), tmp_path / "weights"
    padded = ["--encoder", f"{tower}[fit=pad]"]
    trained = beholder("train", "population", "--data", root, "--out", weights, *padded)
    assert trained.exit_code == 0, trained.stderr
    rank = ["rank", root / "images", "--scorer", "population", "--weights", weights, "--json"]
    ranked = beholder(*rank, *padded)
    assert ranked.exit_code == 0 and len(ranked.stdout.splitlines()) == 12, ranked.stderr
    other = beholder(*rank, "--encoder", tower)
    assert other.exit_code == 2 and "were trained on features small-clip@" in one_sentence(other.stderr)
    unknown = beholder(*rank, "--encoder", f"{tower}[fitt=pad]")
    assert unknown.exit_code == 2 and "has no option 'fitt': did you mean fit? Known are fit, device" in one_sentence(unknown.stderr)


def test_load_reads_the_pixels_as_the_brackets_say(tower, tmp_path):
    paths = make_photos(tmp_path)
    features = {}
    for encoder in (tower, f"{tower}[fit=pad]"):
        with scorers.load(TOKENS, encoder=encoder) as eye:
            features[encoder] = eye.features(paths)
            assert eye.features.key.endswith("/tokens")
    padded, plain = features[f"{tower}[fit=pad]"], features[tower]
    assert padded.shape == plain.shape == (4, 256) and not np.allclose(padded, plain)
