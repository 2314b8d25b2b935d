"""Vision towers, proven with small random models of the real classes: equal to transformers, the same in any batch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from beholder.backbones import load_encoder
from beholder.backbones.torch_encoder import TorchEncoder
from beholder.backbones.vision_tower import VisionTower
from beholder.engine.source import Features
from beholder.errors import BeholderError
from encoder_checks import check_same_in_any_batch, difference, pictures

torch = pytest.importorskip("torch")


@pytest.fixture(params=[None, 4], ids=["as here", "batches as on a GPU"])
def any_batch_size(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(TorchEncoder, "batch_size", request.param)


VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "projection_dim": 24,
}
SQUARE = {"size": {"height": 32, "width": 32}}
NAFLEX = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
DINO3 = SQUARE | {"resample": 2, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def tower_cases():
    """name -> (model, type of its image processor, settings of it). Small random models of the real classes."""
    t = pytest.importorskip("transformers")
    clip = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return {
        "clip": (lambda: t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)), "CLIPImageProcessor", clip),
        "clip-vision": (
            lambda: t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**VISION, projection_dim=24)),
            "CLIPImageProcessor",
            clip,
        ),
        "siglip": (lambda: t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=VISION)), "SiglipImageProcessor", SQUARE),
        "siglip-vision": (lambda: t.SiglipVisionModel(t.SiglipVisionConfig(**VISION)), "SiglipImageProcessor", SQUARE),
        "siglip2-naflex": (
            lambda: t.Siglip2Model(t.Siglip2Config(text_config=TEXT, vision_config=NAFLEX)),
            "Siglip2ImageProcessor",
            {"patch_size": 8, "max_num_patches": 16},
        ),
        "dinov2": (lambda: t.Dinov2Model(t.Dinov2Config(**VISION)), "BitImageProcessor", clip | {"size": {"shortest_edge": 36}}),
        "dinov3": (lambda: t.DINOv3ViTModel(t.DINOv3ViTConfig(**VISION, num_register_tokens=4)), "DINOv3ViTImageProcessorFast", DINO3),
    }


TOWERS = ["clip", "clip-vision", "siglip", "siglip-vision", "siglip2-naflex", "dinov2", "dinov3"]


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
    """name -> folder of a saved model."""
    made = {}
    torch.manual_seed(0)
    for name, (build, kind, settings) in tower_cases().items():
        folder = tmp_path_factory.mktemp("towers") / name
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():  # as new, many are zero: then no token would know of another
                parameter.normal_(0, 0.1)
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": kind, **settings}))
        made[name] = folder
    return made


@pytest.mark.parametrize("name", TOWERS)
def test_tower_same_in_any_batch(towers, name, any_batch_size):
    encoder = load_encoder(towers[name], layers=["pool", "patches_mean", "hidden-0", "hidden-2", "hidden-3"])
    found = check_same_in_any_batch(encoder, pictures(8))
    assert all(np.ptp(rows, axis=0).max() > 1e-4 for rows in found.values()), "the images must make a difference"
    dims = {"pool": 24 if name.startswith("clip") else 32}
    assert dict(encoder.layers) == {layer: dims.get(layer, 32) for layer in encoder.layers}


@pytest.mark.parametrize("name", TOWERS)
def test_tower_is_the_model_of_transformers(towers, name):
    transformers = pytest.importorskip("transformers")
    encoder = load_encoder(towers[name], layers=["pool", "patches_mean", "hidden-1"])
    image = pictures(1)[0]
    found = encoder.encode([encoder.preprocess(image)])
    kind = transformers.CLIPVisionModelWithProjection if name == "clip-vision" else transformers.AutoModel
    model = kind.from_pretrained(towers[name]).eval()
    if name == "dinov3":  # transformers has its processor for torchvision only
        pixels = (np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) / 255 - DINO3["image_mean"]) / DINO3["image_std"]
        inputs = {"pixel_values": torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()}
    else:
        inputs = transformers.AutoImageProcessor.from_pretrained(towers[name], backend="pil")(images=image, return_tensors="pt")
    with torch.inference_mode():
        tower = model.vision_model if hasattr(model, "get_image_features") else model
        made = tower(**inputs, output_hidden_states=True)
        pool = (
            model.get_image_features(**inputs).pooler_output if tower is not model else made.get("image_embeds", made.get("pooler_output"))
        )
    start = {"clip": 1, "clip-vision": 1, "dinov2": 1, "dinov3": 5}.get(name, 0)
    valid = slice(start, start + int(inputs["pixel_attention_mask"].sum())) if "pixel_attention_mask" in inputs else slice(start, None)
    expected = {
        "pool": pool.numpy(),
        "patches_mean": made.last_hidden_state[:, valid].mean(1).numpy(),
        "hidden-1": made.hidden_states[1][:, valid].mean(1).numpy(),
    }
    worst = difference(found, expected)
    print(f"{name}: largest relative difference {worst:.1e}, tolerance 1e-4")
    assert worst <= 1e-4


@pytest.mark.parametrize("name", TOWERS)
def test_tower_runs_no_block_above_the_one_needed(towers, name):
    image = pictures(1)[0]
    whole, part = load_encoder(towers[name], layers=["hidden-1", "pool"]), load_encoder(towers[name], layers=["hidden-1"])
    found = part.encode([part.preprocess(image)])
    assert np.array_equal(found["hidden-1"], whole.encode([whole.preprocess(image)])["hidden-1"])
    blocks = max((m for m in part._network.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    assert len(blocks) == 2


PREFIXES = {"clip": 1, "clip-vision": 1, "dinov2": 1, "dinov3": 5}
FIXED = [name for name in TOWERS if name != "siglip2-naflex"]


@pytest.mark.parametrize("name", FIXED)
def test_tower_tokens_are_the_patches_of_the_last_state_but_one(towers, name):
    transformers = pytest.importorskip("transformers")
    encoder = load_encoder(towers[name], layers=["tokens", "hidden-2"])
    inputs = [encoder.preprocess(image) for image in pictures(3)]
    found = encoder.encode(inputs)
    kind = transformers.CLIPVisionModelWithProjection if name == "clip-vision" else transformers.AutoModel
    model = kind.from_pretrained(towers[name]).eval()
    tower = model.vision_model if hasattr(model, "get_image_features") else model
    with torch.inference_mode():
        states = tower(pixel_values=torch.from_numpy(np.stack(inputs)), output_hidden_states=True).hidden_states
    expected = states[-2][:, PREFIXES.get(name, 0) :].numpy()
    assert expected.shape == (3, 16, 32) and encoder.layers["tokens"] == 16 * 32 and encoder.token_widths == {"tokens": 32}
    tokens = found["tokens"].reshape(3, 16, 32)
    assert difference({"tokens": tokens}, {"tokens": expected}) <= 1e-4
    assert difference({"mean": tokens.mean(1)}, {"mean": found["hidden-2"]}) <= 1e-5
    beside = load_encoder(towers[name], layers=["pool", "tokens"])
    assert difference({"tokens": beside.encode(inputs)["tokens"]}, {"tokens": found["tokens"]}) <= 1e-5
    assert dict(load_encoder(towers[name]).token_widths) == {}


def test_tower_tokens_in_any_batch(towers, any_batch_size):
    check_same_in_any_batch(load_encoder(towers["clip"], layers=["tokens"]), pictures(8))


def rewritten(source, folder, *, processor=None, config=None):
    """A copy of a tower with other settings."""
    import shutil

    shutil.copytree(source, folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_tower_without_one_size_of_input_has_no_tokens(towers, tmp_path):
    shorter = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": False}
    unsized = {"image_processor_type": "SiglipImageProcessor", "do_resize": False, **SQUARE}
    cases = [
        towers["siglip2-naflex"],
        rewritten(towers["clip"], tmp_path / "a", processor=shorter),
        rewritten(towers["clip"], tmp_path / "b", processor=shorter | {"crop_size": 32}),
        rewritten(towers["siglip"], tmp_path / "c", processor=unsized),
    ]
    for folder in cases:
        with pytest.raises(BeholderError, match=r"has no layer 'tokens', as its images differ in size: choose from pool, patches_mean, hid"):
            load_encoder(folder, layers=["tokens"])


def test_tower_sizes_may_be_plain_numbers(towers, tmp_path):
    """As in the folder of CLIP ViT-L/14-336."""
    settings = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "do_center_crop": True}
    old = load_encoder(rewritten(towers["clip"], tmp_path / "old", processor=settings), layers=["tokens"])
    new = load_encoder(towers["clip"], layers=["tokens"])
    assert (old.read_size, old.layers) == (32, new.layers)
    for image in pictures(3):
        assert np.array_equal(old.preprocess(image), new.preprocess(image))


def test_tower_sizes_of_published_folders(tmp_path):
    """The numbers of CLIP ViT-L/14-336, and of a configuration that leaves out all that is as transformers has it anyway."""
    transformers = pytest.importorskip("transformers")
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14, "image_size": 336}
    cases = {
        "clip-large": ({"model_type": "clip", "projection_dim": 768, "vision_config": large}, 336, 576, 1024, 768),
        "clip": ({"model_type": "clip", "vision_config": {"model_type": "clip_vision_model"}}, 224, 49, 768, 512),
        "siglip": ({"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}, 224, 196, 768, 768),
    }
    for name, (config, side, patches, width, pool) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": side, "width": side}}))
        encoder = load_encoder(folder, layers=["pool", "tokens", "hidden-12"])
        assert encoder.layers == {"pool": pool, "tokens": patches * width, "hidden-12": width}
    for kind in (transformers.CLIPConfig, transformers.SiglipConfig):
        whole = kind()
        vision, short = whole.vision_config, load_encoder(tmp_path / kind.model_type)._vision
        assert all(short[key] == getattr(vision, key) for key in ("hidden_size", "num_hidden_layers", "patch_size"))
    assert transformers.CLIPConfig().projection_dim == 512


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2-naflex", "dinov2", "dinov3"])
def test_tower_padding(towers, name):
    """A picture with bars of the mean colour is prepared as the bars and the picture would be; they come out as zeros."""
    padding, plain = load_encoder(f"{towers[name]}[fit=pad]"), load_encoder(towers[name])
    assert (padding.preprocessing, padding.revision) == (f"{plain.preprocessing}-pad", plain.revision)
    picture = pictures(1)[0].resize((64, 32))
    for image, at in ((picture, (0, 16)), (picture.rotate(90, expand=True), (16, 0))):
        prepared = padding.preprocess(image)
        colour = tuple(int(255 * value) for value in padding._processor.image_mean)
        square = Image.new("RGB", (64, 64), colour)
        square.paste(image, at)
        assert np.array_equal(prepared, plain.preprocess(square))
        assert not np.array_equal(prepared, plain.preprocess(image))
        if name == "clip":  # 32 x 32 pixels; the upper and lower (left and right) quarters are bars
            bars = prepared if at[1] else prepared.transpose(0, 2, 1)
            assert np.abs(bars[:, :6]).max() < 0.02 and np.abs(bars[:, -6:]).max() < 0.02 < np.abs(bars[:, 12:20]).max()
    square = pictures(1)[0].resize((40, 40))
    assert np.array_equal(padding.preprocess(square), plain.preprocess(square))


def test_tower_options_in_brackets(towers, tmp_path):
    folder = towers["clip"]
    encoder = load_encoder(f"{folder}[fit=pad,device=cpu]", layers=["tokens"])
    assert (encoder.name, encoder.fit, encoder.device) == ("clip", "pad", "cpu")
    assert load_encoder(f"{folder}[fit=pad]", fit="processor").fit == "processor"
    for name, said in (
        (f"{folder}[size=64]", "has no option 'size'.*Known are fit, device"),
        (f"{folder}[fit=squash]", "fit = 'squash' is not one of processor, pad"),
        (f"{folder}[pad]", "cannot be understood"),
    ):
        with pytest.raises(BeholderError, match=said):
            load_encoder(name)
    with pytest.raises(BeholderError, match="fit = 'squash' is unknown: choose processor or pad"):
        VisionTower(folder, fit="squash")
    odd = rewritten(folder, tmp_path / "clip[v2]")  # a folder that has brackets itself
    for name in (odd, str(odd)):
        assert (load_encoder(name).name, load_encoder(name).fit) == ("clip[v2]", "processor")


def test_features_know_the_width_of_a_token(towers):
    encoder = load_encoder(towers["clip"], layers=["pool", "tokens"])
    assert Features(encoder).token_widths == {"tokens": 32}
    assert Features(encoder, layers=["pool"]).token_widths == {}


def test_tower_revision_follows_weights_and_pixels(towers, tmp_path):
    import shutil

    one = load_encoder(towers["siglip"])
    folder = shutil.copytree(towers["siglip"], tmp_path / "siglip")
    assert (load_encoder(folder).revision, load_encoder(folder).preprocessing) == (one.revision, one.preprocessing)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "SiglipImageProcessor", "size": {"height": 16, "width": 16}})
    )
    assert load_encoder(folder).preprocessing != one.preprocessing
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    assert load_encoder(folder).revision != one.revision


def test_tower_refuses_in_one_sentence(towers, tmp_path):
    with pytest.raises(BeholderError, match=r"no layer 'hidden-9': choose from pool, patches_mean, tokens, hidden-0, "):
        load_encoder(towers["clip"], layers=["hidden-9"])
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BeholderError, match="'bert', which is no known vision tower"):
        load_encoder(folder)
    (folder / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(BeholderError, match="no safetensors weights"):
        load_encoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(BeholderError, match=r"config\.json cannot be read"):
        load_encoder(folder)


def test_making_an_encoder_imports_no_torch(towers):
    script = f"""
import sys
from beholder.backbones import load_encoder
from beholder.backbones.text_encoder import TextEncoder
print(load_encoder({str(towers["clip"])!r}).revision)
for make in (load_encoder, TextEncoder):
    try:
        make()
    except Exception as error:
        print(error, file=sys.stderr)
print(any(name.split(".")[0] in ("torch", "transformers") for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [load_encoder(towers["clip"]).revision, "False"], done.stderr
