"""Encoders: equal to the published networks; one image = any batch = any order = any thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from beholder.backbones import load_encoder, threads
from beholder.backbones.torch_encoder import TorchEncoder, choose_device
from beholder.backbones.weights import EMBEDDED
from beholder.errors import BeholderError
from encoder_checks import check_same_in_any_batch, difference, pictures

torch = pytest.importorskip("torch")


@pytest.fixture(params=[None, 4], ids=["as here", "batches as on a GPU"])
def any_batch_size(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(TorchEncoder, "batch_size", request.param)


# ---- EfficientNet-Lite0 ---------------------------------------------------------------------------------------------

needs_lite = pytest.mark.skipif(EMBEDDED["efficientnet-lite0"].path is None, reason=f"run  {EMBEDDED['efficientnet-lite0'].pip}")


def published_lite(inputs):
    """Block outputs, head map and logits of the published implementation. inputs: [n, h, w, 3] uint8."""
    published = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    published.load_state_dict(torch.load(EMBEDDED["efficientnet-lite0"].path, weights_only=True))
    published.eval()
    blocks = {}
    for place in (10, 14, 15):
        published._blocks[place].register_forward_hook(lambda _m, _i, out, place=place: blocks.__setitem__(place, out.clone()))
    x = torch.from_numpy((np.stack(inputs).transpose(0, 3, 1, 2) / 255 - 0.498) / 0.502).float()
    with torch.inference_mode():
        head = published.extract_features(x)
        logits = published(x)
    return {place: block.numpy() for place, block in blocks.items()}, head.numpy(), logits.numpy()


@needs_lite
@pytest.mark.parametrize("size", [224, 320])
def test_lite_is_the_published_network(size):
    encoder = load_encoder(
        size=size, layers=["pool", "max", "block10", "block14", "block15", "block14_std", "block15_std", "logits", "map"]
    )
    inputs = [encoder.preprocess(image) for image in pictures(2)]
    found = encoder.encode(inputs)
    blocks, head, logits = published_lite(inputs)
    expected = {
        "pool": head.mean((2, 3)),
        "max": head.max((2, 3)),
        "block10": blocks[10].mean((2, 3)),
        "block14": blocks[14].mean((2, 3)),
        "block15": blocks[15].mean((2, 3)),
        "block14_std": blocks[14].std((2, 3)),
        "block15_std": blocks[15].std((2, 3)),
        "logits": logits,
        "map": head.transpose(0, 2, 3, 1).reshape(2, -1),
    }
    worst = difference(found, expected)
    print(f"largest relative difference {worst:.1e}, tolerance 1e-4")
    assert worst <= 1e-4


@needs_lite
def test_lite_regions():
    layers = ["map", "top", "middle", "bottom"]
    for size, rows in ((224, 3), (320, 4)):
        found = load_encoder(size=size, layers=layers).encode([load_encoder(size=size).preprocess(pictures(1)[0])])
        cells = size // 32
        grid = found["map"].reshape(cells, cells, 1280)
        start = (cells - rows) // 2
        assert np.allclose(found["top"], grid[:rows].mean((0, 1)), rtol=1e-4, atol=1e-6)
        assert np.allclose(found["bottom"], grid[-rows:].mean((0, 1)), rtol=1e-4, atol=1e-6)
        middle = grid[start : start + rows, start : start + rows]
        assert np.allclose(found["middle"], middle.mean((0, 1)), rtol=1e-4, atol=1e-6)


@needs_lite
@pytest.mark.parametrize("fit", ["squash", "area"])
def test_lite_same_in_any_batch(fit, any_batch_size):
    check_same_in_any_batch(load_encoder(size=96, fit=fit), pictures(8))


@needs_lite
def test_lite_goes_no_deeper_than_needed():
    images = pictures(1)
    whole = load_encoder(size=64)
    inputs = [whole.preprocess(image) for image in images]
    found = whole.encode(inputs)
    for layers in (["block10"], ["block14_std", "block10"], ["block15"], ["top"], ["logits"]):
        part = load_encoder(size=64, layers=layers)
        assert list(part.layers) == layers
        assert all(np.array_equal(part.encode(inputs)[layer], found[layer]) for layer in layers)


@needs_lite
def test_lite_map_at_half_the_size(monkeypatch):
    from beholder.backbones import efficientnet_lite

    encoder = load_encoder(layers=["map@half", "pool@half"])
    inputs = [encoder.preprocess(image) for image in pictures(2)]
    sides = []
    run = efficientnet_lite._run
    monkeypatch.setattr(efficientnet_lite, "_run", lambda network, x, **wishes: sides.append(x.shape[2:]) or run(network, x, **wishes))
    found = encoder.encode(inputs)
    assert set(sides) == {(224, 224)}, "the full scale is not run if nobody asks for it"

    # The encoder for 224 pixels takes whole numbers, the mean of four is none: it is given twice the neighbours, and the rest is linear.
    means = np.stack(inputs).reshape(2, 224, 2, 224, 2, 3).mean((2, 4))
    small = load_encoder(size=224, layers=["map", "pool"])
    small.load()
    with torch.inference_mode():
        expected = small._forward(small._network, means, "cpu")
    assert found["map@half"].shape == (2, 7 * 7 * 1280)
    assert difference({"map": found["map@half"], "pool": found["pool@half"]}, expected) <= 1e-4
    assert np.ptp(found["map@half"].reshape(2, 49, 1280), axis=1).max() > 0.1, "the cells differ"


@needs_lite
def test_lite_token_widths():
    assert dict(load_encoder().token_widths) == {}
    assert load_encoder(layers=["pool", "map@half"]).token_widths == {"map@half": 1280}
    assert load_encoder(layers=["map", "map@half"], size=128).token_widths == {"map": 1280, "map@half": 1280}


@needs_lite
def test_lite_options_in_brackets():
    bracketed, plain = load_encoder("EfficientNet-Lite0[size=64, fit=area, device=cpu]"), load_encoder(size=64, fit="area", device="cpu")
    assert (bracketed.size, bracketed.preprocessing, bracketed.device) == (64, "area64-bicubic", "cpu")
    assert (bracketed.preprocessing, bracketed.revision, bracketed.layers) == (plain.preprocessing, plain.revision, plain.layers)
    assert load_encoder("efficientnet-lite0[size=96]", layers=["pool"]).layers == {"pool": 1280}
    for name, said in (
        ("efficientnet-lite0[sise=64]", "the encoder efficientnet-lite0 has no option 'sise': did you mean size.*Known are size, fit, weights, device"),
        ("efficientnet-lite0[layers=pool]", "has no option 'layers'"),
        ("efficientnet-lite0[size=big]", "size = 'big' is not a whole number"),
        ("efficientnet-lite0[fit=pad]", "fit = 'pad' is not one of squash, area"),
        ("efficientnet-lite0[size=64", "the encoder .* cannot be understood: options are written name"),
    ):
        with pytest.raises(BeholderError, match=said):
            load_encoder(name)


@needs_lite
def test_lite_shapes_and_names():
    squash, area = load_encoder(), load_encoder(size=224, fit="area")
    assert (squash.preprocessing, squash.read_size, squash.revision) == ("squash448-bicubic", 448, "579344248a93")
    assert squash.preprocess(Image.new("RGB", (700, 400))).shape == (448, 448, 3)
    assert area.preprocessing == "area224-bicubic"
    assert area.preprocess(Image.new("RGB", (600, 400))).shape == (192, 288, 3)
    assert area.preprocess(Image.new("RGB", (400, 600))).shape == (288, 192, 3)
    assert area.preprocess(Image.new("RGB", (5000, 100))).shape == (128, 448, 3)
    for width, height in ((1, 1), (1, 3000), (333, 512)):
        rows, columns = area.preprocess(Image.new("RGB", (width, height))).shape[:2]
        assert rows % 32 == columns % 32 == 0 and rows and columns


@needs_lite
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ["pol"]}, "no layer 'pol'.*choose from pool, max"),
        ({"layers": ["map"], "fit": "area"}, "no layer 'map'"),
        ({"size": 300}, "give a multiple of 32"),
        ({"fit": "crop"}, "choose squash or area"),
        ({"weights": "/none.pth"}, "is not a file"),
    ],
)
def test_lite_refuses_in_one_sentence(options, said):
    with pytest.raises(BeholderError, match=said):
        load_encoder(**options)


@needs_lite
def test_lite_other_weights(tmp_path):
    data = bytearray(EMBEDDED["efficientnet-lite0"].path.read_bytes())
    (tmp_path / "same.pth").write_bytes(data)
    assert load_encoder(weights=tmp_path / "same.pth").revision == load_encoder().revision
    (tmp_path / "broken.pth").write_bytes(data[: len(data) // 2])
    broken = load_encoder(weights=tmp_path / "broken.pth", size=64)
    assert broken.revision != load_encoder().revision
    with pytest.raises(BeholderError, match="does not hold the weights"):
        broken.encode([np.zeros((64, 64, 3), np.uint8)])


def test_wrong_device_is_refused():
    if EMBEDDED["efficientnet-lite0"].path is None or torch.cuda.is_available():
        pytest.skip("needs the weights, and no GPU")
    for device in ("cuda", "gpu"):
        with pytest.raises(BeholderError, match=f"device = '{device}' is not available here: choose one of auto, cpu"):
            load_encoder(device=device).load()


@needs_lite
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_lite_on_a_gpu():
    on_cpu, on_gpu = load_encoder(size=96, device="cpu"), load_encoder(size=96, device="cuda")
    together = check_same_in_any_batch(on_gpu, pictures(40))
    assert difference(together, on_cpu.encode([on_cpu.preprocess(image) for image in pictures(40)])) <= 1e-4


def test_workers_leave_torch_threads_alone():
    before = torch.get_num_threads()

    def work():
        threads.limit_torch()
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: work(), range(4))) == [1] * 4
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


# ---- text -----------------------------------------------------------------------------------------------------------

TEXTS = ["a person who likes cats", "someone fond of kittens", "", "stock market report " * 200, "Fünf blaue Bäume 🌳", "hello"]
needs_text = pytest.mark.skipif(EMBEDDED["all-minilm-l6-v2"].path is None, reason=f"run  {EMBEDDED['all-minilm-l6-v2'].pip}")


@needs_text
def test_text_encoder_same_in_any_batch():
    from beholder.backbones.text_encoder import TextEncoder

    encoder = TextEncoder()
    vectors = encoder.encode(TEXTS * 3)
    assert vectors.shape == (18, encoder.dim) == (18, 384) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    order = np.random.default_rng(0).permutation(18)
    worst = max(
        np.abs(encoder.encode([(TEXTS * 3)[i] for i in order]) - vectors[order]).max(),
        *(np.abs(encoder.encode([text])[0] - vectors[i]).max() for i, text in enumerate(TEXTS)),
    )
    print(f"largest difference {worst:.1e}, tolerance 1e-6")
    assert worst <= 1e-6
    assert encoder.encode([]).shape == (0, 384)
    with pytest.raises(BeholderError, match="a list of texts"):
        encoder.encode("one")


@needs_text
def test_text_encoder_is_the_published_recipe():
    transformers = pytest.importorskip("transformers")
    from beholder.backbones.text_encoder import TextEncoder

    folder = EMBEDDED["all-minilm-l6-v2"].path
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
        expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1).numpy()
    vectors = TextEncoder().encode(TEXTS)
    assert np.abs(vectors - expected).max() <= 1e-5
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[3]


def test_each_of_several_processes_takes_its_own_gpu(monkeypatch):
    for rank, expected in ((None, "cuda"), ("1", "cuda:1")):
        monkeypatch.delenv("LOCAL_RANK", raising=False) if rank is None else monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert choose_device("auto") == expected
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_device("auto") == "cpu"
