"""q-align on tiny models against a computation by hand; the adapters of the packages hpsv3 and ImageReward against stand-ins; what is kept."""

from __future__ import annotations

import math
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

import tiny_comparators as tiny
import tiny_vlms
from beholder.about import About
from beholder.errors import BeholderError
from beholder.rater import Rater
from beholder.scorers.comparators.hpsv3 import HPSv3
from beholder.scorers.comparators.image_reward import ImageReward
from beholder.scorers.comparators.options import HPSv3Options, ImageRewardOptions, QAlignOptions
from beholder.scorers.comparators.q_align import BEGINNING, LEVELS, QUESTION, QAlign, padded

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore::beholder.scorers.comparators.facts.LicenceNotice")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BEHOLDER_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("large")
    return {"llava": tiny_vlms.save_llava(root / "llava"), "photos": tiny.save_photos(root / "photos", n=5)}


def by_hand(folder, photo, *, pad=True):
    """The expected level from transformers alone: the published words, written out in LLaVA's template."""
    model = transformers.LlavaForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    image = Image.open(photo).convert("RGB")
    shown = pixels(images=padded(image) if pad else image, return_tensors="pt")["pixel_values"]
    text = f"USER: {'<image>' * 16}\n{QUESTION} ASSISTANT: {BEGINNING} "  # the next sign is the first letter of the word
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=True)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=shown, attention_mask=torch.ones_like(ids)).logits[0, -1]
    words = logits[[tokenizer.convert_tokens_to_ids(word[0]) for word in LEVELS]].double().softmax(0).numpy()
    return float(words @ [5, 4, 3, 2, 1])


def test_the_words_levels_are_those_of_the_paper():
    assert LEVELS == {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
    assert QUESTION == "How would you rate the aesthetics of this image?" and BEGINNING == "The aesthetics of the image is"


@pytest.mark.parametrize("fit", ["pad", "model"])
def test_q_align_is_the_softmax_over_the_five_words_by_hand(world, fit):
    scorer = QAlign(options=QAlignOptions(model=world["llava"], fit=fit, dtype="float32", device="cpu", keep=False))
    found = scorer.native(world["photos"])
    expected = [by_hand(world["llava"], photo, pad=fit == "pad") for photo in world["photos"]]
    assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected)
    assert 1 < found.min() < found.max() < 5


def test_batches_change_nothing_and_predictions_lie_on_the_raters_scale(world):
    given = {"model": world["llava"], "dtype": "float32", "device": "cpu", "keep": False}
    alone = QAlign(options=QAlignOptions(**given)).native(world["photos"])
    np.testing.assert_allclose(QAlign(options=QAlignOptions(**given, batch=3)).native(world["photos"]), alone, atol=1e-4)
    np.testing.assert_array_equal(QAlign(options=QAlignOptions(**given)).native(world["photos"][::-1]), alone[::-1])
    made = QAlign(options=QAlignOptions(**given)).predict(world["photos"], Rater())
    np.testing.assert_allclose(made.score, alone)  # 1..5 on 1..5


@pytest.mark.parametrize("save", [tiny_vlms.save_gemma3, tiny_vlms.save_smolvlm])
def test_q_align_asks_other_families_too(tmp_path, save, world):
    found = QAlign(options=QAlignOptions(model=save(tmp_path / "vlm"), dtype="float32", device="cpu")).native(world["photos"][:2])
    assert ((found > 1) & (found < 5)).all() and found[0] != found[1]


def test_values_are_kept_by_content_and_a_new_object_computes_nothing(world, tmp_path, monkeypatch):
    options = QAlignOptions(model=world["llava"], dtype="float32", device="cpu")
    told = []
    first = QAlign(options=options)
    first.progress = lambda done, total: told.append((done, total))
    before = first.native(world["photos"])
    assert told == [(i, 5) for i in range(6)]
    copy = tmp_path / "copy.png"
    shutil.copy(world["photos"][0], copy)
    again = QAlign(options=options)
    monkeypatch.setattr(again, "compute", None)
    np.testing.assert_array_equal(again.native([str(copy), *world["photos"]]), [before[0], *before])


def test_words_that_begin_alike_are_refused(tmp_path, monkeypatch, world):
    monkeypatch.setattr("beholder.scorers.comparators.q_align.LEVELS", {"excellent": 3.0, "good": 2.0, "great": 1.0})
    with pytest.raises(BeholderError, match=r"begins two of the words excellent, good, great alike"):
        QAlign(options=QAlignOptions(model=world["llava"], keep=False)).native(world["photos"][:1])


ORIGINAL = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class OwlConfig(PretrainedConfig):
    model_type = "mplug_owl2"

class Owl(PreTrainedModel):
    config_class = OwlConfig
    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.post_init()
    def score(self, images, task_="quality", input_="image"):
        assert (task_, input_) == ("aesthetics", "image")
        return torch.tensor([1 + 4 * sum(image.getpixel((0, 0))) / 765 for image in images]) * self.weight
"""


def test_the_original_runs_only_when_asked(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "one-align"
    folder.mkdir()
    (folder / "owl.py").write_text(ORIGINAL)
    save_file({"weight": torch.tensor([1.0])}, folder / "model.safetensors", metadata={"format": "pt"})
    classes = '{"AutoConfig": "owl.OwlConfig", "AutoModelForCausalLM": "owl.Owl"}'
    (folder / "config.json").write_text(f'{{"model_type": "mplug_owl2", "architectures": ["Owl"], "auto_map": {classes}}}')
    with pytest.raises(BeholderError, match=r"not run unasked.*remote_code=true"):
        QAlign(options=QAlignOptions(model=str(folder)))
    Image.new("RGB", (20, 10), (255, 255, 0)).save(tmp_path / "yellow.png")
    scorer = QAlign(options=QAlignOptions(model=str(folder), remote_code=True, device="cpu"))
    np.testing.assert_allclose(scorer.native([tmp_path / "yellow.png"]), [1 + 4 * 2 / 3], rtol=1e-6)
    (folder / "owl.py").unlink()
    with pytest.raises(BeholderError, match="local folder with the model's Python files"):
        QAlign(options=QAlignOptions(model=str(folder), remote_code=True))


# --- packages of others


class Inferencer:
    """The interface of the package hpsv3; the order of the arguments is that of its repository, not of its wheel."""

    made: list = []  # noqa: RUF012

    def __init__(self, config_path=None, checkpoint_path=None, device="cuda", differentiable=False):
        self.made.append((checkpoint_path, device))

    def reward(self, prompts=None, image_paths=None):
        assert len(prompts) == len(image_paths) and all(isinstance(image, Image.Image) for image in image_paths)
        return torch.tensor(
            [[image.size[0] / 10 + len(prompt), math.log(0.5 + len(prompt))] for image, prompt in zip(image_paths, prompts, strict=True)]
        )


@pytest.fixture()
def hps(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hpsv3", types.SimpleNamespace(HPSv3RewardInferencer=Inferencer))
    monkeypatch.setattr(Inferencer, "made", [])
    (tmp_path / "HPSv3.safetensors").write_bytes(b"weights")
    return tmp_path


def test_hpsv3_gives_mu_and_its_sigma_widens_the_interval(hps, world):
    photos = world["photos"][:2]
    scorer = HPSv3(options=HPSv3Options(weights=str(hps), device="cpu", batch=2))
    scorer.tell({photos[1]: About(prompt="boat")})
    widths = [Image.open(photo).size[0] for photo in photos]
    made = scorer.measured(photos)
    np.testing.assert_allclose(made.values, [widths[0] / 10, widths[1] / 10 + 4], rtol=1e-6)
    np.testing.assert_allclose(made.sigma, [0.5, 4.5], rtol=1e-6)
    assert Inferencer.made == [(str(hps / "HPSv3.safetensors"), "cpu")]
    half = scorer.calibration.half_width(made.sigma)
    np.testing.assert_allclose(half, 1.6448536 * np.sqrt(0.3**2 + (made.sigma / 18) ** 2), rtol=1e-6)
    assert half[1] > half[0] * 1.2
    assert scorer.notes() == ["hpsv3: 1 images have no prompt and are judged with the empty text"]


def test_hpsv3_refuses_another_interface_and_missing_files(hps, monkeypatch, tmp_path):
    with pytest.raises(BeholderError, match="nothing is there"):
        HPSv3(options=HPSv3Options(weights=str(tmp_path / "gone")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BeholderError, match=r"without HPSv3\.safetensors"):
        HPSv3(options=HPSv3Options(weights=str(tmp_path / "empty")))
    other = type("Other", (), {"reward": lambda self, paths, texts: None})
    monkeypatch.setitem(sys.modules, "hpsv3", types.SimpleNamespace(HPSv3RewardInferencer=other))
    with pytest.raises(BeholderError, match=r"not image_paths and prompts: install hpsv3==1\.0\.0"):
        HPSv3(options=HPSv3Options(weights=str(hps)))


def test_hpsv3_lets_its_package_fetch_nothing_where_that_is_forbidden(hps, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")
    with pytest.raises(BeholderError, match="set HF_HUB_OFFLINE=1"):
        HPSv3(options=HPSv3Options(weights=str(hps)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # then the package knows itself
    assert HPSv3(options=HPSv3Options(weights=str(hps), device="cpu")).source.startswith("HPSv3.safetensors@")


def reward_package(seen):
    class Model:
        def score(self, prompt, image):
            assert isinstance(image, Image.Image)
            return len(prompt) / 10 - image.size[1] / 100

    def load(name="ImageReward-v1.0", device="cuda", download_root=None, med_config=None):
        print("load checkpoint from", name)
        seen.append((name, device, med_config))
        return Model()

    return types.SimpleNamespace(load=load)


def test_imagereward_reads_prompt_and_image_and_keeps_stdout_clean(monkeypatch, world, tmp_path, capsys):
    seen = []
    monkeypatch.setitem(sys.modules, "ImageReward", reward_package(seen))
    for name in ("ImageReward.pt", "med_config.json"):
        (tmp_path / name).write_bytes(b"x")
    files = {"weights": str(tmp_path / "ImageReward.pt"), "med_config": str(tmp_path / "med_config.json")}
    photo = world["photos"][0]
    scorer = ImageReward(options=ImageRewardOptions(**files, device="cpu", prompt="a boat"))
    np.testing.assert_allclose(scorer.native([photo]), [0.6 - Image.open(photo).size[1] / 100])
    assert seen == [(files["weights"], "cpu", files["med_config"])]
    assert capsys.readouterr().out == ""
    plain = ImageReward(options=ImageRewardOptions(**files, device="cpu"))
    with pytest.raises(BeholderError, match=r"1 of 1 have none.*imagereward\[prompt="):
        plain.native([photo])


def test_imagereward_fetches_nothing_when_offline_and_names_missing_files(monkeypatch, tmp_path):
    monkeypatch.setenv("BEHOLDER_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "ImageReward", reward_package([]))
    with pytest.raises(BeholderError, match=r"BEHOLDER_OFFLINE.*weights=ImageReward\.pt"):
        ImageReward()
    with pytest.raises(BeholderError, match=r"there is no file .*gone\.pt: get .*THUDM/ImageReward.*weights=FILE"):
        ImageReward(options=ImageRewardOptions(weights=str(tmp_path / "gone.pt")))


def test_missing_packages_are_named_with_the_command_and_a_warning_of_what_they_bring(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hpsv3", None)
    monkeypatch.setitem(sys.modules, "ImageReward", None)
    with pytest.raises(BeholderError, match=r"pip install hpsv3==1\.0\.0  in an environment of its own.*4\.45\.2"):
        HPSv3(options=HPSv3Options(weights=str(tmp_path)))
    monkeypatch.delenv("BEHOLDER_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(BeholderError, match=r"pip install image-reward==1\.5  in an environment of its own"):
        ImageReward()


def test_a_value_that_is_no_number_is_not_kept(monkeypatch, hps, world):
    monkeypatch.setattr(Inferencer, "reward", lambda self, prompts, image_paths: torch.full((len(prompts), 2), math.nan))
    scorer = HPSv3(options=HPSv3Options(weights=str(hps), device="cpu"))
    with pytest.raises(BeholderError, match=r"gives no number for .*00\.png"):
        scorer.native(world["photos"])
    assert not scorer._known
    with pytest.raises(BeholderError, match="batch = 0"):
        HPSv3(options=HPSv3Options(weights=str(hps), batch=0))
