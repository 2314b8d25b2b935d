"""Diffusers pipelines as generators, and steering while they denoise: on a random Stable Diffusion of the real classes."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_diffusers
from beholder.errors import BeholderError, MissingExtra
from beholder.steering.base import CallFailed
from beholder.steering.diffusers_callback import PreviewScores, best_with_pruning, decode_preview, scores_of
from beholder.steering.generators import open_generator
from beholder.steering.generators.diffusers import DiffusersGenerator, split_options

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_diffusers.save(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture(scope="session")
def opened(folder):
    """One that is loaded already; tests must leave its pipeline as it is."""
    return opened_by(folder, "steps=2")


def opened_by(folder, options=""):
    return open_generator(f"diffusers:{folder}[{options}]" if options else f"diffusers:{folder}", device="cpu")


def array(image):
    return np.asarray(image, dtype=int)


# names and options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", ("a/b", {})),
        ("a/b[steps=5]", ("a/b", {"steps": "5"})),
        ("a/b[negative=dark, blurry,text , steps=3]", ("a/b", {"negative": "dark, blurry,text", "steps": "3"})),
        ("a/b[negative=[bad], (worse:1.2)]", ("a/b", {"negative": "[bad], (worse:1.2)"})),
        ("a/b[]", ("a/b", {})),
    ],
)
def test_a_negative_prompt_may_hold_commas(text, expected):
    assert split_options(text) == expected


def test_folders_with_brackets(tmp_path):
    (tmp_path / "sd[v1]").mkdir()
    assert split_options(f"{tmp_path}/sd[v1]") == (f"{tmp_path}/sd[v1]", {})
    assert split_options(f"{tmp_path}/sd[v1][steps=3]") == (f"{tmp_path}/sd[v1]", {"steps": "3"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("steps=x", "not a whole number"),
        ("stepz=3", "did you mean steps"),
        ("steps=0", "too small"),
        ("dtype=int8", "not one of"),
        ("steps", "cannot be understood"),
    ],
)
def test_options_that_cannot_be(folder, options, words):
    with pytest.raises(BeholderError) as caught:
        opened_by(folder, options)
    assert words in str(caught.value)


def test_what_is_not_there_is_an_error_and_nothing_else_is_taken(tmp_path):
    for name, words in (
        ("./nothing", "nothing is there"),
        (str(tmp_path), "without model_index.json"),
        ("owner/model", "HF_HUB_OFFLINE"),
        ("", "empty"),
    ):
        with pytest.raises(BeholderError) as caught:
            open_generator(f"diffusers:{name}")
        assert words in str(caught.value)


def test_the_cache_of_the_hub_is_looked_into(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    shutil.copytree(folder, tmp_path / "models--owner--tiny" / "snapshots" / commit)
    (tmp_path / "models--owner--tiny" / "refs").mkdir()
    (tmp_path / "models--owner--tiny" / "refs" / "main").write_text(commit)
    generator = open_generator("diffusers:owner/tiny[steps=2]", device="cpu")
    assert generator.name == "diffusers:owner/tiny[steps=2]" and generator.version == opened_by(folder, "steps=2").version
    assert generator.generate("a boat", seed=1).size == (32, 32)


def test_pickled_weights_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "p", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(BeholderError, match="no safetensors weights"):
        opened_by(tmp_path / "p")


def test_a_damaged_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "unet")
    with pytest.raises(BeholderError, match="cannot be loaded") as caught:
        opened_by(tmp_path / "p").generate("a boat", seed=1)
    assert "\n" not in str(caught.value)


def test_diffusers_is_named_if_it_is_missing(folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "diffusers" else find(name, *rest))
    with pytest.raises(MissingExtra, match=r"beholder\[t2i\]"):
        opened_by(folder)


def test_the_version_is_that_of_weights_and_options(folder, tmp_path):
    version = opened_by(folder, "steps=2").version
    assert opened_by(folder, "steps=2,batch=3").version == version
    assert (
        len({version, opened_by(folder).version, opened_by(folder, "steps=3").version, opened_by(folder, "steps=2,negative=dark").version})
        == 4
    )
    shutil.copytree(folder, tmp_path / "p")
    assert opened_by(tmp_path / "p", "steps=2").version == version
    config = tmp_path / "p" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.013"))
    assert opened_by(tmp_path / "p", "steps=2").version != version


# images


def test_the_image_is_that_of_the_pipeline(folder):
    import diffusers

    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "negative_prompt": "dark, night"}
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe("a boat on the lake", generator=torch.Generator("cpu").manual_seed(5), height=16, width=24, **options).images[0]
    text = f"diffusers:{folder}[steps=2,guidance=3,negative=dark, night]"
    image = open_generator(text, size="24x16", device="cpu").generate("a boat on the lake", seed=5)
    assert image.size == (24, 16) and image.mode == "RGB" and np.array_equal(array(image), array(expected))


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_an_image_is_the_same_alone_and_among_others(folder, tmp_path, scheduler):
    if scheduler != "DDIMScheduler":
        folder = tiny_diffusers.save(tmp_path / "p", scheduler=scheduler)
    requests = [("a boat", 1), ("a red sky", 1), ("a boat", 2), ("a boat", 1)]
    together = dict(opened_by(folder, "steps=2,batch=3").generate_many(requests))
    alone = opened_by(folder, "steps=2")
    again = [alone.generate(prompt, seed=seed) for prompt, seed in requests]
    assert sorted(together) == [0, 1, 2, 3]
    assert max(np.abs(array(together[i]) - array(again[i])).max() for i in range(4)) <= 1
    assert np.array_equal(array(again[0]), array(again[3]))
    assert min(np.abs(array(again[0]) - array(again[i])).mean() for i in (1, 2)) > 1


def test_options_reach_the_pipeline(folder, opened):
    base = array(opened.generate("a boat", seed=1))
    for options in ("steps=3", "steps=2,guidance=1.5", "steps=2,negative=red sky", "steps=2,dtype=bfloat16"):
        image = opened_by(folder, options).generate("a boat", seed=1)
        assert np.abs(array(image) - base).max() > 0, options
    assert opened_by(folder, "steps=2,width=16,height=24").generate("a boat", seed=1).size == (16, 24)


def test_no_bars_and_no_warnings(opened, capfd):
    opened.generate("a boat " * 30, seed=1)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_prompts_that_are_cut_are_counted(folder):
    generator = opened_by(folder, "steps=1")
    generator.generate("a boat", seed=1)
    assert generator.notes() == []
    generator.generate("a boat on the lake " * 9, seed=1)
    assert "1 prompts were longer than the 16 tokens" in generator.notes()[0]


def test_a_flagged_image_is_refused(tmp_path):
    folder = tiny_diffusers.save(tmp_path / "p", safety=True)
    generator = opened_by(folder, "steps=1,batch=2")
    assert isinstance(generator.generate("a boat", seed=1), Image.Image)
    tiny_diffusers.flag_everything(generator.load())
    with pytest.raises(CallFailed) as caught:
        generator.generate("a boat", seed=1)
    assert caught.value.kind == "refused"
    assert [one.kind for _, one in generator.generate_many([("a", 1), ("b", 1), ("c", 1)])] == ["refused"] * 3


def calls(monkeypatch, generator, function):
    """The pipeline's call does this instead."""
    monkeypatch.setattr(type(generator.load()), "__call__", function)


def test_numbers_that_overflow_are_broken(opened, monkeypatch):
    from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput as Output

    calls(monkeypatch, opened, lambda self, prompt, **_: Output([Image.new("RGB", (8, 8))] * len(prompt), None))
    with pytest.raises(CallFailed, match="float32") as caught:
        opened.generate("a boat", seed=1)
    assert caught.value.kind == "broken"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nto"), "ran out of memory: give a smaller width"),
        (ValueError("bad\nthing"), "ValueError: bad"),
    ],
)
def test_what_the_pipeline_raises_is_one_sentence(opened, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    calls(monkeypatch, opened, fail)
    with pytest.raises(BeholderError) as caught:
        opened.generate("a boat", seed=1)
    assert words in str(caught.value) and "\n" not in str(caught.value) and not isinstance(caught.value, CallFailed)


def test_a_size_that_the_model_cannot_make(folder):
    with pytest.raises(BeholderError, match="divisible by 8"):
        opened_by(folder, "steps=1,width=13,height=16").generate("a boat", seed=1)


def test_an_option_that_the_pipeline_does_not_take(folder, monkeypatch):
    import diffusers

    def call(self, prompt, generator, output_type="pil", num_inference_steps=1):
        raise AssertionError

    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "__call__", call)
    with pytest.raises(BeholderError, match="takes no guidance, negative"):
        opened_by(folder, "steps=1,guidance=2,negative=dark").generate("a boat", seed=1)


# while denoising


def red(images):
    """How red they are, 0..1."""
    return [float(array(image)[:, :, 0].mean() / 255) for image in images]


def test_the_curve_is_that_of_the_decoded_latents(opened):
    pipe, kept = opened.load(), []

    def keep(pipe, step, timestep, inputs):
        kept.append(inputs["latents"].clone())
        return watch(pipe, step, timestep, inputs)

    watch = PreviewScores(red, every=2, side=32)
    made = pipe("a boat", num_inference_steps=6, generator=torch.Generator().manual_seed(1), callback_on_step_end=keep).images[0]
    assert [one.step for one in watch.previews] == [2, 4] and watch.stopped_at is None
    for preview in watch.previews:
        with torch.inference_mode():
            decoded = pipe.vae.decode(kept[preview.step - 1] / pipe.vae.config.scaling_factor).sample
        expected = pipe.image_processor.postprocess(decoded)[0]
        assert abs(preview.score - red([expected])[0]) < 1e-3
    again = pipe("a boat", num_inference_steps=6, generator=torch.Generator().manual_seed(1)).images[0]
    assert np.array_equal(array(made), array(again)), "looking changes nothing"


def test_a_preview_is_small(opened):
    latents = torch.randn(1, 4, 64, 32, generator=torch.Generator().manual_seed(0))
    image = decode_preview(opened.load(), latents, side=32)
    assert max(image.size) <= 32 and image.size[1] == 2 * image.size[0]
    with pytest.raises(BeholderError, match="decode"):
        decode_preview(opened.load(), torch.zeros(1, 16, 64))


def test_latents_of_another_form_need_a_function(opened):
    seen = []
    watch = PreviewScores(red, every=2, decode=lambda pipe, latents: seen.append(latents.shape) or Image.new("RGB", (8, 8), (255, 0, 0)))
    opened.load()("a boat", num_inference_steps=4, callback_on_step_end=watch)
    assert seen == [(1, 4, 16, 16)] and watch.previews[0].score == 1.0


def test_stopping_saves_the_remaining_steps(opened, monkeypatch):
    pipe, steps = opened.load(), []
    forward = pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda *a, **k: steps.append(1) or forward(*a, **k))
    watch = PreviewScores(red, every=2, stop=lambda curve: len(curve) == 2)
    pipe("a boat", num_inference_steps=10, callback_on_step_end=watch)
    assert watch.stopped_at == 4 and len(steps) == 4
    watch.stop = None  # the next image begins anew
    pipe("a boat", num_inference_steps=4, callback_on_step_end=watch)
    assert watch.stopped_at is None and [one.step for one in watch.previews] == [2]


def test_the_unpromising_are_given_up_and_the_best_kept(opened, monkeypatch):
    pipe = opened.load()
    steps = []
    forward = pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda *a, **k: steps.append(1) or forward(*a, **k))
    options = {"num_inference_steps": 8, "guidance_scale": 2.0}
    whole = best_with_pruning(pipe, "a boat", seeds=range(8), score=red, every=2, least=8, **options)
    assert [one.score for one in whole] == sorted((one.score for one in whole), reverse=True) and len(steps) == 64
    steps.clear()
    tried = best_with_pruning(pipe, "a boat", seeds=range(8), score=red, every=2, least=3, patience=0.5, **options)
    given_up = [one for one in tried if one.stopped_at]
    assert given_up and len(steps) == sum(one.stopped_at or 8 for one in tried) < 64
    assert all(one.image is None and np.isnan(one.score) and one.stopped_at >= 4 for one in given_up)
    assert not {one.seed for one in given_up} & {0, 1, 2} and tried[: len(tried) - len(given_up)] and tried[-1].stopped_at
    scores = {one.seed: one.score for one in whole}
    assert all(one.score == scores[one.seed] for one in tried if not one.stopped_at)
    assert np.mean([scores[one.seed] for one in given_up]) < np.mean([one.score for one in tried if not one.stopped_at])


@pytest.mark.parametrize("wrong", [{"seeds": []}, {"least": 0}, {"patience": 1.5}, {"every": 0}])
def test_pruning_that_cannot_be(opened, wrong):
    with pytest.raises(BeholderError):
        best_with_pruning(opened.load(), "a", **({"seeds": [1], "score": red, "num_inference_steps": 1} | wrong))


def test_an_eye_scores_previews():
    import beholder

    with beholder.load("stub_scorers:Stub") as eye:
        score = scores_of(eye)
        images = [Image.new("RGB", (40, 30), (shade, shade, shade)) for shade in (200, 20, 120, 200)]
        found = score(images)
    assert found[0] == found[3] and len(set(found)) >= 2 and all(0 <= one <= 1 for one in found)


def test_the_example_runs(folder, tmp_path, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "steer_while_denoising", Path(__file__).parent.parent / "examples" / "steer_while_denoising.py"
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    out = tmp_path / "best.png"
    arguments = [str(folder), "a boat", "--seeds", "5", "--steps", "4", "--every", "2", "--scorer", "stub_scorers:Stub", "--out", str(out)]
    assert example.main(arguments) == 0
    assert Image.open(out).size == (32, 32) and "of 20 steps were computed" in capsys.readouterr().out


def test_it_is_a_diffusers_generator(opened):
    assert isinstance(opened, DiffusersGenerator) and opened.version
