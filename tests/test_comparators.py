"""Public scorers on encoders: values equal to an independent computation with transformers and torch, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_comparators as tiny
from beholder import scorers
from beholder.about import About
from beholder.errors import BeholderError, UnreadableImage
from beholder.rater import Rater
from beholder.ratings import Ratings
from beholder.scale import Scale
from beholder.scorers.comparators import facts
from beholder.scorers.comparators.heads import read_head
from beholder.scorers.comparators.hpsv3 import HPSv3
from beholder.scorers.comparators.image_reward import ImageReward
from beholder.scorers.comparators.laion import LaionAestheticV1, LaionAestheticV2
from beholder.scorers.comparators.options import LaionOptions, PickScoreOptions, SiglipOptions
from beholder.scorers.comparators.preference import PickScore
from beholder.scorers.comparators.q_align import QAlign
from beholder.scorers.comparators.siglip_aesthetic import SiglipAesthetic
from beholder.scorers.feature_sources import sources

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ALL = (LaionAestheticV1, LaionAestheticV2, SiglipAesthetic, QAlign, HPSv3, PickScore, ImageReward)
pytestmark = pytest.mark.filterwarnings("ignore::beholder.scorers.comparators.facts.LicenceNotice")


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folders of a CLIP and a SigLIP, and photographs."""
    root = tmp_path_factory.mktemp("comparators")
    return {"clip": tiny.save_clip(root / "clip"), "siglip": tiny.save_siglip(root / "siglip"), "photos": tiny.save_photos(root / "photos")}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BEHOLDER_HOME", str(tmp_path / "home"))


def embedded(folder, photos, *, siglip=False):
    """[n, d] float64: transformers' own image features of whole photographs, not normalised."""
    processor = (transformers.SiglipImageProcessorPil if siglip else transformers.CLIPImageProcessorPil).from_pretrained(folder)
    pixels = processor(images=[Image.open(photo).convert("RGB") for photo in photos], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        if siglip:
            return transformers.SiglipVisionModel.from_pretrained(folder)(pixels).pooler_output.double()
        made = transformers.CLIPModel.from_pretrained(folder).get_image_features(pixels)
    return (made if isinstance(made, torch.Tensor) else made.pooler_output).double()


def assert_close(found, expected):
    """Differences are far below those between images."""
    assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected) and np.ptp(expected) > 0.05


def unit(vectors):
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize(("places", "relu"), [((0, 2, 4, 6, 7), False), ((0, 3, 6, 9, 11), True)])
def test_laion_v2_is_the_head_on_the_normalised_projected_embedding(world, tmp_path, ending, places, relu):
    tensors = tiny.stack(width=tiny.PROJECTED, places=places)
    file = tiny.save_head(tmp_path / f"head.{ending}", tensors)
    scorer = LaionAestheticV2(options=LaionOptions(weights=str(file), clip=str(world["clip"])))
    with torch.inference_mode():
        expected = tiny.sequential(tensors, relu=relu)(unit(embedded(world["clip"], world["photos"])))[:, 0].numpy()
    found = scorer.native(world["photos"])
    assert found.shape == (len(world["photos"]),) and found.dtype == np.float64
    assert_close(found, expected)


def test_laion_v1_normalises_first(world, tmp_path):
    tensors = tiny.single(width=tiny.PROJECTED)
    options = LaionOptions(weights=str(tiny.save_head(tmp_path / "v1.pth", tensors)), clip=str(world["clip"]))
    vectors = embedded(world["clip"], world["photos"])
    weight, bias = tensors["weight"][0].double(), float(tensors["bias"])
    found = LaionAestheticV1(options=options).native(world["photos"])
    assert_close(found, (unit(vectors) @ weight + bias).numpy())
    assert np.abs(found - (vectors @ weight + bias).numpy()).max() > 1  # what comes out without scaling to length 1


def test_siglip_aesthetic_reads_the_pooled_embedding(world, tmp_path):
    tensors = tiny.stack(width=tiny.POOLED, prefix="scoring_head.", places=(0, 2, 4, 6, 8))
    options = SiglipOptions(weights=str(tiny.save_head(tmp_path / "v25.pth", tensors)), siglip=str(world["siglip"]))
    with torch.inference_mode():
        expected = tiny.sequential(tensors, relu=False)(unit(embedded(world["siglip"], world["photos"], siglip=True)))[:, 0].numpy()
    assert_close(SiglipAesthetic(options=options).native(world["photos"]), expected)


def test_pickscore_is_the_scaled_cosine_of_transformers(world):
    prompts = ["a boat on the lake", "a red sky", "a photo of a tree in winter at night, dark and bright on the lake"]
    photos = world["photos"][:3]
    scorer = PickScore(options=PickScoreOptions(clip=str(world["clip"])))
    scorer.tell({photo: About(prompt=prompt) for photo, prompt in zip(photos, prompts, strict=True)})
    model, tokens = transformers.CLIPModel.from_pretrained(world["clip"]), transformers.AutoTokenizer.from_pretrained(world["clip"])
    processor = transformers.CLIPImageProcessorPil.from_pretrained(world["clip"])
    pixels = processor(images=[Image.open(photo).convert("RGB") for photo in photos], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        whole = model(**tokens(prompts, padding=True, truncation=True, max_length=16, return_tensors="pt"), pixel_values=pixels)
    assert_close(scorer.native(photos), whole.logits_per_image.diagonal().numpy())


def test_prompts_are_those_of_the_image_else_of_the_option_else_it_is_refused(world):
    clip, photos = str(world["clip"]), world["photos"][:2]
    plain = PickScore(options=PickScoreOptions(clip=clip))
    plain.tell({photos[0]: About(prompt="a red sky")})
    assert plain.native(photos[:1]).shape == (1,)
    with pytest.raises(BeholderError, match=r"1 of 2 have none .*01\.png.*--about FILE.*pickscore\[prompt="):
        plain.predict(photos, Rater())
    one_for_all = PickScore(options=PickScoreOptions(clip=clip, prompt="a boat"))
    one_for_all.tell({photos[0]: About(prompt="a red sky")})
    both = one_for_all.native(photos)
    assert both[0] == plain.native(photos[:1])[0]
    assert both[1] == PickScore(options=PickScoreOptions(clip=clip, prompt="a boat")).native(photos[1:])[0]
    assert both[1] != PickScore(options=PickScoreOptions(clip=clip, prompt="a tree")).native(photos[1:])[0]


def test_an_image_depends_on_no_other_and_predictions_are_the_documented_line(world, tmp_path):
    tensors = tiny.stack(width=tiny.PROJECTED)
    options = LaionOptions(weights=str(tiny.save_head(tmp_path / "head.pth", tensors)), clip=str(world["clip"]))
    scorer, photos = LaionAestheticV2(options=options), world["photos"]
    together = scorer.native(photos)
    alone = [LaionAestheticV2(options=options).native([photo])[0] for photo in photos[::-1]][::-1]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert scorer.native([]).shape == (0,)
    first, second = scorer.predict_many([(photos, Rater(ratings=Ratings([], scale=Scale(0, 100, 0)))), (photos[2:3], Rater())])
    np.testing.assert_allclose(first.score, 100 * (together - 1) / 9, atol=1e-9)
    np.testing.assert_allclose(second.score, 1 + 4 * (together[2] - 1) / 9, atol=1e-9)
    half = 100 * 0.3 * 1.6448536
    np.testing.assert_allclose(first.high, np.minimum(first.score + half, 100), atol=1e-4)
    np.testing.assert_allclose(first.low, np.maximum(first.score - half, 0), atol=1e-4)
    assert first.version == scorer.version and first.scorer == "laion-aesthetic-v2"


def test_vectors_come_through_the_feature_store(world, tmp_path, monkeypatch):
    from beholder.features import FeatureStore

    room = "beholder.scorers.comparators.laion:LaionAestheticV2"
    name = f"{room}[weights={tiny.save_head(tmp_path / 'head.pth', tiny.stack(width=tiny.PROJECTED))},clip={world['clip']},device=cpu]"
    with FeatureStore(tmp_path / "store") as store:
        found = sources([name], encoder="efficientnet-lite0", store=store)
        assert [list(encoder.layers) for encoder in found.encoders] == [["pool"]]
        first = scorers.make(name, features=found.by_name[name]).native(world["photos"])
        again = sources([name], encoder="efficientnet-lite0", store=store)
        monkeypatch.setattr(again.encoders[0], "encode", None)  # nothing is left to encode
        np.testing.assert_array_equal(scorers.make(name, features=again.by_name[name]).native(world["photos"]), first)


def test_options_of_the_scorer_are_not_given_to_the_encoder(world):
    name = f"beholder.scorers.comparators.preference:PickScore[clip={world['clip']},prompt=a red sky]"
    features = sources([name], encoder="efficientnet-lite0").by_name[name]
    assert scorers.make(name, features=features).native(world["photos"][:1]).shape == (1,)


def test_the_licence_is_said_once_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_told", set())
    with pytest.warns(facts.LicenceNotice, match=r"siglip-aesthetic: .*AGPL-3\.0.*offers a service") as said:
        for _ in range(2):
            with pytest.raises(BeholderError, match="nothing is there"):
                SiglipAesthetic(options=SiglipOptions(weights="head.pth", siglip=str(tmp_path / "gone")))
    assert len([one for one in said if one.category is facts.LicenceNotice]) == 1
    with pytest.warns(facts.LicenceNotice, match="q-align: .*non-commercial"), pytest.raises(BeholderError, match="which model to ask"):
        QAlign()


@pytest.mark.parametrize("cls", ALL)
def test_facts_are_whole_and_in_the_documentation(cls):
    known = cls.facts
    assert known.low < known.high and known.direction == "higher is better" and known.prompt in ("none", "required", "optional")
    text = (Path(__file__).parents[1] / "docs" / "comparators.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{cls.name}`"))
    assert f"{known.low:g} to {known.high:g}".replace("-", "−") in row.replace("-", "−")
    for licence in (known.code_licence, known.weights_licence):
        assert licence.split(" ")[0].rstrip(",") in row, (licence, row)
    assert {"none": "no", "required": "yes", "optional": "takes one"}[known.prompt] in row
    assert not cls.uses_ratings and not cls.uses_profile and not cls.self_contained


def test_a_wrong_encoder_is_refused(world, tmp_path):
    head = str(tiny.save_head(tmp_path / "head.pth", tiny.stack(width=tiny.PROJECTED)))
    with pytest.raises(
        BeholderError, match=r"type clip or clip_vision_model.*is of type 'siglip_vision_model'.*openai/clip-vit-large-patch14"
    ):
        LaionAestheticV2(options=LaionOptions(weights=head, clip=str(world["siglip"])))
    wide = tiny.save_clip(tmp_path / "wide", projected=28)
    with pytest.raises(BeholderError, match=r"reads vectors of 24 values, and .*wide gives 28: name the encoder"):
        LaionAestheticV2(options=LaionOptions(weights=head, clip=str(wide)))
    with pytest.raises(BeholderError, match=r"gone looks like a local path, but nothing is there"):
        LaionAestheticV2(options=LaionOptions(weights=head, clip=str(tmp_path / "gone")))
    with pytest.raises(BeholderError, match=r"type clip, and .*siglip"):
        PickScore(options=PickScoreOptions(clip=str(world["siglip"])))
    without = tmp_path / "without"
    shutil.copytree(world["clip"], without, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "merges*", "special*"))
    with pytest.raises(BeholderError, match="has no tokenizer"):
        PickScore(options=PickScoreOptions(clip=str(without)))


def test_a_tower_without_its_projection_is_refused_even_if_the_width_fits(tmp_path):
    vision = transformers.CLIPVisionConfig(**tiny.SIZES, image_size=32, patch_size=8)
    transformers.CLIPVisionModel(vision).save_pretrained(tmp_path / "tower")
    crop = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "tower" / "preprocessor_config.json").write_text(json.dumps(crop))
    head = tiny.save_head(tmp_path / "head.pth", tiny.single(width=tiny.SIZES["hidden_size"]))
    with pytest.raises(BeholderError, match="has no projection"):
        LaionAestheticV1(options=LaionOptions(weights=str(head), clip=str(tmp_path / "tower")))


class Unsafe:
    def __reduce__(self):
        return (print, ("code in a file of weights was run",))


def test_bad_heads_are_refused_in_one_sentence(tmp_path, capsys):
    def refused(tensors, *, stacked=True, name="head.pth"):
        with pytest.raises(BeholderError) as error:
            read_head(tiny.save_head(tmp_path / name, tensors), stacked=stacked, get="THE FILE")
        assert "THE FILE" in str(error.value) and "\n" not in str(error.value)
        return str(error.value)

    good = tiny.stack(width=24)
    assert "not the layers of one stack" in refused(tiny.single(width=24))
    assert "not weight and bias" in refused(good, stacked=False)
    assert "numbered 0, 1, 2, 3, 4" in refused(tiny.stack(width=24, places=(0, 1, 2, 3, 4)))
    assert "gives 2 values" in refused(tiny.stack(width=24, sizes=(1024, 128, 64, 16, 2)))
    assert "layer 2" in refused(good | {"layers.2.weight": good["layers.2.weight"][:, :-1]})
    assert "layers.7.bias is missing" in refused({name: value for name, value in good.items() if name != "layers.7.bias"})
    assert "layer 1 holds values that are no numbers" in refused(good | {"layers.0.bias": good["layers.0.bias"] * float("nan")})
    assert "cannot be read as weights" in refused({"weight": Unsafe()})
    assert "was run" not in capsys.readouterr().out
    (tmp_path / "page.pth").write_text("<!doctype html><html>Not Found</html>")
    (tmp_path / "page.safetensors").write_text("<!doctype html><html>Not Found</html>")
    for name in ("page.pth", "page.safetensors"):
        with pytest.raises(BeholderError, match="a web page saved in place of the file"):
            read_head(tmp_path / name, stacked=True, get="THE FILE")
    with pytest.raises(BeholderError, match=r"there is no file .*gone\.pth: get THE FILE"):
        read_head(tmp_path / "gone.pth", stacked=True, get="THE FILE")


@pytest.mark.parametrize("name", ["laion:LaionAestheticV1", "laion:LaionAestheticV2", "siglip_aesthetic:SiglipAesthetic"])
def test_without_a_head_nothing_is_fetched(name, monkeypatch):
    monkeypatch.setattr("beholder.backbones.weights.resolve", None)
    with pytest.raises(BeholderError, match="weights=FILE"):
        sources([f"beholder.scorers.comparators.{name}"], encoder="efficientnet-lite0")


def test_an_unreadable_image_is_named(world, tmp_path):
    head = tiny.save_head(tmp_path / "head.pth", tiny.stack(width=tiny.PROJECTED))
    scorer = LaionAestheticV2(options=LaionOptions(weights=str(head), clip=str(world["clip"])))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UnreadableImage, match=r"broken\.jpg"):
        scorer.native([world["photos"][0], str(tmp_path / "broken.jpg")])


def test_importing_them_imports_no_torch():
    import subprocess
    import sys

    rooms = "laion, siglip_aesthetic, q_align, original_q_align, preference, image_reward, hpsv3"
    code = f"import sys; from beholder.scorers.comparators import {rooms}; assert not {{'torch', 'transformers', 'sklearn'}} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_eye_ranks_with_a_comparator(world, tmp_path):
    room = "beholder.scorers.comparators.laion:LaionAestheticV2"
    name = f"{room}[weights={tiny.save_head(tmp_path / 'head.pth', tiny.stack(width=tiny.PROJECTED))},clip={world['clip']}]"
    with scorers.load(name) as eye:
        ranked = eye.rank(world["photos"])
        native = eye.scorer.native([one.image for one in ranked])
    assert len(ranked) == len(world["photos"]) and list(native) == sorted(native, reverse=True)
