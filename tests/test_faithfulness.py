"""Text drift and image-text match: equal to transformers' own features, for every family, and in the right direction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import tiny_diffusers
from beholder.backbones.text_encoder import TextEncoder
from beholder.errors import BeholderError, UnreadableImage
from beholder.steering.faithfulness import ImageTextMatch, TextDrift
from encoder_checks import pictures

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16}
SQUARE = {"size": {"height": 32, "width": 32}}
TEXTS = ["a boat on the lake", "A Red Sky", "a photo of tree in winter " * 6, ""]


def gemma_like(words, **options):
    """A tokenizer as SigLIP's are: <eos> at the end, <pad> to the right; it gives no mask, as theirs does not. Capital letters are unknown to it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate(["<pad>", "<eos>", "<unk>", *words])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, padding_side="right", **special, **options)


def made(kind):
    """(model, tokenizer, preprocessor_config) of a family."""
    siglip_text = TEXT | {"vocab_size": 20, "projection_size": 32, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    if kind == "clip":
        tokens = tiny_diffusers.tokenizer()
        text = TEXT | {"vocab_size": len(tokens), "eos_token_id": tokens.eos_token_id, "bos_token_id": tokens.bos_token_id}
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24))
        crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        return model, tokens, {"image_processor_type": "CLIPImageProcessor", **crop}
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config=siglip_text, vision_config=VISION)
        return (
            transformers.SiglipModel(config),
            gemma_like(tiny_diffusers.WORDS),
            {"image_processor_type": "SiglipImageProcessor", **SQUARE},
        )
    flexible = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
    config = transformers.Siglip2Config(text_config=siglip_text, vision_config=flexible)
    pixels = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8, "max_num_patches": 16}
    return transformers.Siglip2Model(config), gemma_like(tiny_diffusers.WORDS), pixels


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """family -> folder of a random model with both halves."""
    found = {}
    for kind in ("clip", "siglip", "siglip2"):
        folder = tmp_path_factory.mktemp("pairs") / kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, tokens, pixels = made(kind)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(0, 0.2)
        model.save_pretrained(folder)
        tokens.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
        found[kind] = folder
    return found


def features(made):
    return (made if isinstance(made, torch.Tensor) else made.pooler_output).double().numpy()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


FAMILIES = ["clip", "siglip", "siglip2"]


@pytest.mark.parametrize("kind", FAMILIES)
def test_match_is_the_cosine_of_the_features_of_transformers(folders, kind, tmp_path):
    images = pictures(4)
    paths = []
    for place, image in enumerate(images):
        paths.append(tmp_path / f"{place}.png")
        image.save(paths[-1])
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    rules = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 16}
    match = ImageTextMatch(folders[kind], device="cpu")
    for text in TEXTS:
        with torch.inference_mode():
            tokens = tokenizer([text.lower()], truncation=True, return_tensors="pt", **({"max_length": 16} | rules))
            if kind != "clip":
                tokens.pop("attention_mask", None)
            tokens.pop("token_type_ids", None)
            of_text = unit(features(model.get_text_features(**tokens)))
            of_images = [features(model.get_image_features(**processor(images=image, return_tensors="pt"))) for image in images]
        expected = unit(np.concatenate(of_images)) @ of_text[0]
        assert np.allclose(match.text_vector(text), of_text[0], atol=1e-6)
        found = match.match(paths, text)
        assert found.shape == (4,) and found.dtype == np.float64 and np.allclose(found, expected, atol=1e-5)
        assert np.allclose(match.match(images, text), found, atol=1e-6) and np.abs(found).max() <= 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_texts_and_images_matter_and_neighbours_do_not(folders, kind):
    match, images = ImageTextMatch(folders[kind], device="cpu"), pictures(3)
    one, other = match.match(images, "a boat"), match.match(images, "red sky at night")
    assert np.ptp(one) > 1e-4 and np.abs(one - other).max() > 1e-4
    assert np.allclose([match.match([image], "a boat")[0] for image in images], one, atol=1e-6)
    assert match.match([], "a boat").shape == (0,)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_reads_lower_case_and_its_padding(folders, kind):
    match = ImageTextMatch(folders[kind], device="cpu")
    assert np.array_equal(match.text_vector("A Red SKY"), match.text_vector("a red sky"))
    asked = []
    tokenizer, model, device = match._text_half()
    match._loaded = (lambda texts, **options: asked.append(tokenizer(texts, **options)) or asked[-1]), model, device
    match.text_vector("a boat")
    assert asked[0]["input_ids"].shape == (1, 16) and (asked[0]["input_ids"][0, 8:] == 0).all()


def test_the_version_is_that_of_the_weights(folders):
    versions = {ImageTextMatch(folders[kind]).version for kind in FAMILIES}
    assert len(versions) == 3 and ImageTextMatch(folders["clip"]).version in versions


def test_what_compares_nothing_is_refused(folders, tmp_path):
    with pytest.raises(BeholderError, match="not found"):
        ImageTextMatch("owner/no-such-model")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    with pytest.raises(BeholderError, match="compares no image with a text"):
        ImageTextMatch(tmp_path)
    with pytest.raises(UnreadableImage):
        ImageTextMatch(folders["clip"], device="cpu").match([tmp_path / "config.json"], "a boat")


def test_a_folder_without_a_tokenizer(folders, tmp_path):
    for file in folders["clip"].iterdir():
        if not file.name.startswith(("tokenizer", "vocab", "merges", "special")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BeholderError, match="no tokenizer") as caught:
        ImageTextMatch(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BeholderError, match="tokenizer") as caught:
        ImageTextMatch(tmp_path, device="cpu").match([Image.new("RGB", (32, 32))], "a boat")
    assert "\n" not in str(caught.value)


def test_drift_grows_with_the_distance_in_meaning():
    drift = TextDrift(device="cpu")
    goal = "a lighthouse on a cliff at sunset"
    prompts = [
        goal,
        "a lighthouse on a rocky cliff at sunset, golden light",
        "a sailing boat in a harbour",
        "quarterly tax accounting software",
    ]
    found = drift.drift(prompts, goal)
    assert found.shape == (4,) and found[0] < 1e-6 and (np.diff(found) > 0.05).all() and found.min() >= 0 and found.max() <= 1
    vectors = TextEncoder().encode([goal, *prompts]).astype(float)
    assert np.allclose(found, np.clip(1 - vectors[1:] @ vectors[0], 0, 1), atol=1e-6)
    assert np.allclose([drift.drift([prompt], goal)[0] for prompt in prompts], found, atol=1e-6)
    assert drift.drift([], goal).shape == (0,) and drift.name == "all-minilm-l6-v2" and drift.version
