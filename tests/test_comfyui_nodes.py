"""The ComfyUI nodes in examples/comfyui_beholder: the contract with ComfyUI, and the same scores as the command line. Needs no ComfyUI."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import beholder as package
from beholder.store import Store
from command_line import STUB, beholder
from image_files import picture

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parent.parent / "examples" / "comfyui_beholder"
SCORER = {"scorer": STUB[1]}
TYPES = {"IMAGE", "FLOAT", "STRING", "INT", "BEHOLDER_RATER"}


NAME = str(FOLDER).replace(".", "_x_")


@pytest.fixture
def nodes(monkeypatch):
    """The folder, imported as ComfyUI imports it: by its path, under a name that is its path."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location(NAME, FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[f"{NAME}.nodes"]


def batch(n=4):
    """IMAGE [n, 40, 60, 3] as ComfyUI's LoadImage makes it, and the same as Pillow images."""
    images = [picture(60, 40, seed=i).rotate(35 * i).convert("RGB") for i in range(n)]
    return torch.stack([torch.from_numpy(np.array(image).astype(np.float32) / 255.0) for image in images]), images


def run(nodes, name, /, **inputs):
    """What ComfyUI does with a node."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    return getattr(node(), node.FUNCTION)(**inputs)


def nobody(nodes):
    return run(nodes, "BeholderRater")[0]


def command_line(paths, *options):
    """Path -> score, as `beholder score` prints them."""
    result = beholder("score", *paths, *STUB, *options, "--json")
    assert result.exit_code == 0, result.stderr
    return {row["image"]: row["score"] for row in map(json.loads, result.stdout.splitlines())}


def test_the_contract_with_comfyui(nodes):
    assert set(nodes.NODE_CLASS_MAPPINGS) == set(nodes.NODE_DISPLAY_NAME_MAPPINGS) == {"BeholderRater", "BeholderScore", "BeholderTopK"}
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional"} and callable(getattr(node(), node.FUNCTION)) and node.CATEGORY == "beholder"
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(getattr(node, "OUTPUT_IS_LIST", node.RETURN_TYPES))
        assert {kind[0] for part in inputs.values() for kind in part.values()} | set(node.RETURN_TYPES) <= TYPES
        takes = getattr(node, node.FUNCTION).__code__
        assert {name for part in inputs.values() for name in part} == set(takes.co_varnames[1 : takes.co_argcount])


def test_importing_the_nodes_imports_nothing_heavy():
    code = (
        f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {str(FOLDER.parent)!r}); import comfyui_beholder\n"
        "sys.exit(', '.join(m for m in ('beholder', 'torch', 'numpy', 'PIL') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_scores_are_those_of_the_command_line_for_the_same_pictures_as_png(nodes, tmp_path):
    images, pictures = batch()
    scores, report = run(nodes, "BeholderScore", images=images, rater=nobody(nodes), **SCORER)
    paths = [tmp_path / f"{i}.png" for i in range(len(pictures))]
    for path, image in zip(paths, pictures, strict=True):
        image.save(path)
    found = command_line(paths)
    assert all(type(score) is float for score in scores) and len(set(scores)) == 4
    assert [round(score, 4) for score in scores] == [found[str(path)] for path in paths]
    lines = report.splitlines()
    best = int(np.argmax(scores))
    assert (
        "4 images" in lines[0]
        and "scale 1-5" in lines[0]
        and lines[1].startswith(f"1. image {best + 1}: {scores[best]:.2f}")
        and len(lines) == 5
    )


def test_the_pixels_are_those_that_save_image_writes(nodes):
    values = torch.rand(1, 9, 7, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    theirs = np.clip(255.0 * values[0].numpy(), 0, 255).astype(np.uint8)
    made = sys.modules[f"{NAME}.nodes"].to_pillow
    assert np.array_equal(np.asarray(made(values[0])), theirs)
    assert (
        made(torch.zeros(4, 5, 1)).mode == "L" and made(torch.zeros(4, 5, 4)).mode == "RGBA" and made(torch.full((2, 2, 3), float("nan")))
    )


def test_scores_are_on_the_scale_of_a_kept_rater(nodes, tmp_path):
    images, pictures = batch()
    rated = tmp_path / "rated.png"
    pictures[1].save(rated)
    with Store() as store:
        store.add("mara", profile=package.Profile(openness=9))
        store.add_ratings("mara", package.Ratings([package.Rating(str(rated), 90)], scale=package.Scale(0, 100)))
    rater = run(nodes, "BeholderRater", name="Mara")[0]
    scores, report = run(nodes, "BeholderScore", images=images, rater=rater, **SCORER)
    assert "scale 0-100" in report and max(scores) > 5
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, pictures, strict=True):
        image.save(path)
    found = command_line(paths, "--rater", "mara")
    assert [round(score, 4) for score in scores] == [found[str(path)] for path in paths]


def test_the_best_come_first_with_their_scores(nodes):
    images, _ = batch(5)
    rater = nobody(nodes)
    scores, _ = run(nodes, "BeholderScore", images=images, rater=rater, **SCORER)
    order = np.argsort(-np.array(scores), kind="stable").tolist()
    best, kept = run(nodes, "BeholderTopK", images=images, rater=rater, k=3, **SCORER)
    assert best.shape == (3, 40, 60, 3) and torch.equal(best, images[order[:3]]) and kept == [scores[i] for i in order[:3]]
    everything, all_scores = run(nodes, "BeholderTopK", images=images, rater=rater, k=99, **SCORER)
    assert torch.equal(everything, images[order]) and all_scores == sorted(scores, reverse=True)
    one, _ = run(nodes, "BeholderTopK", images=images[:1], rater=rater, **SCORER)
    assert torch.equal(one, images[:1])


def test_equal_images_of_a_batch_have_equal_scores(nodes):
    images, _ = batch(2)
    scores, report = run(nodes, "BeholderScore", images=images[[0, 1, 0, 0]], rater=nobody(nodes), **SCORER)
    assert scores[0] == scores[2] == scores[3] != scores[1] and "4 images" in report


def test_a_rater_from_a_file_and_fields(nodes, tmp_path):
    (tmp_path / "me.toml").write_text('age = 34\ngender = "female"\n')
    rater = run(nodes, "BeholderRater", profile=str(tmp_path / "me.toml"), fields="openness = 8\nage = 40")[0]
    assert (rater.profile.age, rater.profile.gender, rater.profile.openness) == (40, "female", 8)
    assert not nobody(nodes).profile and isinstance(nobody(nodes), package.Rater)
    images, _ = batch()
    low = run(nodes, "BeholderRater", fields="openness = 1")[0]
    high = run(nodes, "BeholderRater", fields="openness = 10")[0]
    of = {name: run(nodes, "BeholderScore", images=images, rater=one, **SCORER)[0] for name, one in (("low", low), ("high", high))}
    assert all(a < b for a, b in zip(of["low"], of["high"], strict=True))
    node, file = nodes.NODE_CLASS_MAPPINGS["BeholderRater"], tmp_path / "me.toml"
    before = node.IS_CHANGED(profile=str(file))
    assert before == node.IS_CHANGED(profile=str(file)) != node.IS_CHANGED(profile=str(file), fields="age = 3")
    os.utime(file, (1, 1))
    assert node.IS_CHANGED(profile=str(file)) != before
    assert node.IS_CHANGED(name="mara") != node.IS_CHANGED(name="mara"), "nan: the store is read again each time"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"name": "nobody-here"}, "nobody-here"),
        ({"profile": "/no/such.toml"}, "cannot be read"),
        ({"fields": "age: 3"}, "not valid TOML"),
        ({"fields": "age = 999"}, "age"),
    ],
)
def test_raters_that_cannot_be(nodes, inputs, words):
    with pytest.raises(package.BeholderError) as caught:
        run(nodes, "BeholderRater", **inputs)
    assert words in str(caught.value)


def test_what_no_batch_is(nodes):
    for images in (torch.zeros(0, 4, 4, 3), torch.zeros(4, 4, 3)):
        with pytest.raises(package.BeholderError, match="batch"):
            run(nodes, "BeholderScore", images=images, rater=nobody(nodes), **SCORER)
    with pytest.raises(package.BeholderError, match="there is no scorer"):
        run(nodes, "BeholderScore", images=batch(1)[0], rater=nobody(nodes), scorer="tast")


def test_no_file_is_left(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(nodes, "BeholderScore", images=batch(2)[0], rater=nobody(nodes), **SCORER)
    assert os.listdir(tmp_path) == []


def test_the_default_scorer_works(nodes):
    scores, report = run(nodes, "BeholderScore", images=batch(2)[0], rater=nobody(nodes))
    assert "taste" in report and all(1 <= score <= 5 for score in scores)


def test_pictures_of_one_and_four_channels(nodes):
    for channels in (1, 4):
        images = torch.rand(2, 32, 32, channels, generator=torch.Generator().manual_seed(1))
        scores, _ = run(nodes, "BeholderScore", images=images, rater=nobody(nodes), **SCORER)
        assert len(scores) == 2 and all(1 <= score <= 5 for score in scores)
