"""Does a P-MLLM stay the person its language model is: planted agreement, closed gates, free text, bad input, interruption, and the command."""

import csv
import json
import os
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

import tiny_models
from beholder.backbones.chat import ChatRequest
from beholder.backbones.reply_cache import ReplyCache
from beholder.datasets import read
from beholder.errors import BeholderError
from beholder.evaluation.simulate import mixed, simulate
from beholder.personas import consistency_report as report
from beholder.personas.consistency import PAPER, made_up_profiles, sampled_profiles, study
from beholder.personas.icc import icc31
from beholder.personas.inventory import load_inventory
from beholder.personas.ledger import Counts, Ledger
from beholder.personas.prompts import PersonaFormat, render
from beholder.profile import BIG_FIVE, Profile
from command_line import beholder, one_sentence

ITEMS = load_inventory()
FEW = replace(ITEMS, items=ITEMS.items[:10])  # two a trait
STYLE = PersonaFormat.parse("00020")
SLOPE = 0.15  # agreement per point of a trait


class Planted:
    """Agrees with a statement as its persona's trait and a noise of its own say. `asked`: the personas it was given."""

    unit = "item answers"

    def __init__(self, name, profiles, *, noise, slope=SLOPE, style=STYLE, silent=(), dies_after=None):
        self.name, self.version, self.counts = name, f"{name}-{noise}-{slope}", Counts()
        self.noise, self.slope, self.silent, self.dies_after = noise, slope, silent, dies_after
        self.known = {render(profile, style=style): profile for profile in profiles}
        self.asked = []

    def answers(self, personas, inventory, *, progress=None):
        found = np.empty((len(personas), len(inventory.items)))
        for row, text in enumerate(personas):
            if self.dies_after is not None and len(self.asked) >= self.dies_after:
                raise KeyboardInterrupt
            self.asked.append(text)
            random = np.random.default_rng(zlib.crc32(f"{self.version}{text}".encode()))
            noise = dict(zip(BIG_FIVE, random.normal(0, self.noise, 5), strict=True))
            for column, item in enumerate(inventory.items):
                agreement = 3 + self.slope * (getattr(self.known[text], item.trait) - 5.5) + noise[item.trait]
                found[row, column] = np.clip(6 - agreement if item.reverse else agreement, 1, 5)
                if item.name in self.silent:
                    found[row, column] = np.nan
            if progress:
                progress(row + 1, len(personas))
        return found


@pytest.fixture(scope="module")
def profiles():
    return made_up_profiles(300)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def run(base, others, profiles, ledger, **options):
    return study(base, others, profiles=profiles, inventory=ITEMS, style=STYLE, ledger=ledger, **options)


# --- planted answers


def test_a_planted_agreement_is_found_and_gone_with_shuffled_profiles(profiles, ledger):
    base, near = Planted("llm", profiles, noise=0.3), Planted("near", profiles, noise=0.3)
    found = run(base, {"near": near}, profiles, ledger, again={"near": Planted("near again", profiles, noise=0.3)})
    shared = SLOPE**2 * np.var([profile.openness for profile in profiles], ddof=1)
    expected = shared / (shared + 0.3**2)
    for own in found.agreements["near"]:
        assert own.icc.value == pytest.approx(expected, abs=0.08) and own.icc.low < expected + 0.03 and own.icc.high > expected - 0.03
        assert (own.icc.n, own.icc.dropped) == (300, 0)
        assert abs(own.shuffled) < 0.03 and own.shuffled_range[0] < 0 < own.shuffled_range[1] < 0.2
        assert own.again.value == pytest.approx(expected, abs=0.08)
        assert own.follows == pytest.approx(np.sqrt(expected), abs=0.06) and own.base_follows == pytest.approx(np.sqrt(expected), abs=0.06)
        assert own.spread == pytest.approx(9 / 4 * np.sqrt(shared + 0.09), rel=0.12)
        assert own.gap == pytest.approx(9 / 4 * 0.3 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.15) and abs(own.shift) < 0.15
    assert not report.remarks(found)


def test_scores_are_those_of_the_answers_and_reach_the_icc(profiles, ledger):
    few = profiles[:20]
    base, other = Planted("llm", few, noise=0), Planted("other", few, noise=0.2)
    found = run(base, {"other": other}, few, ledger)
    exact = np.array([[1 + 9 / 4 * (2 + SLOPE * (getattr(profile, trait) - 5.5)) for trait in BIG_FIVE] for profile in few])
    np.testing.assert_allclose(found.base_scores, exact)
    for place, own in enumerate(found.agreements["other"]):
        assert own.icc == icc31(exact[:, place], found.scores["other"][:, place])
        assert own.base_follows == pytest.approx(1)


def test_a_better_model_is_told_from_a_worse_one(profiles, ledger):
    base, near, far = (Planted(name, profiles, noise=noise) for name, noise in (("llm", 0.1), ("pmllm", 0.1), ("pmllm-s", 0.8)))
    found = run(base, {"pmllm-s": far, "pmllm": near}, profiles, ledger)
    assert list(found.differences) == [("pmllm-s", "pmllm")]
    assert all(gap.clear and gap.high < 0 for gap in found.differences["pmllm-s", "pmllm"])
    assert all(cell.endswith("*") for cell in report.differences(found)[0][2:])


def test_the_table_has_the_shape_of_the_papers(profiles, ledger):
    base, near, far = (Planted(name, profiles, noise=0.2) for name in ("llm", "a", "b"))
    found = run(base, {"pmllm-s": far, "pmllm": near, "mine": base_of("c", profiles)}, profiles, ledger, kinds={"mine": "other"}, setting=("made up",))
    rows = report.rows(found)
    assert [row[0] for row in rows] == ["O", "C", "E", "A", "N"]
    assert report.headings(found) == [
        "Trait", "pmllm-s ICC", "CI95%", "paper ICC", "paper CI95%", "pmllm ICC", "CI95%", "paper ICC", "paper CI95%", "mine ICC", "CI95%",
    ]  # fmt: skip
    assert rows[0][3:5] == ["0.806", "[0.770, 0.840]"] and rows[4][7:9] == ["0.656", "[0.590, 0.710]"]
    own = found.agreements["pmllm"][2].icc
    assert rows[2][5:7] == [f"{own.value:.3f}", f"[{own.low:.3f}, {own.high:.3f}]"]
    assert all(PAPER["pmllm"][trait][0] > PAPER["pmllm-s"][trait][0] for trait in BIG_FIVE)
    text = report.table(found)
    assert "stand-in for LMLPA's" in text and "300 profiles; made up" in text.replace("(", "; ") and "arXiv 2604.17233" in text


def base_of(name, profiles):
    return Planted(name, profiles, noise=0.2)


def test_models_that_react_to_no_profile_are_found_out(profiles, ledger):
    few = profiles[:30]
    base, same = Planted("llm", few, noise=0, slope=0), Planted("same", few, noise=0, slope=0)
    found = run(base, {"same": same}, few, ledger)
    for own in found.agreements["same"]:
        assert np.isnan(own.icc.value) and "the same for all" in own.icc.reason and (own.spread, own.follows) == (0, 0)
    text = " ".join(report.remarks(found))
    assert "hardly reacts" in text and "not defined" in text
    assert [row[1] for row in report.rows(found)] == ["not defined"] * 5
    json.dumps(report.summary(found), allow_nan=False)
    moved = run(Planted("llm", few, noise=0.1), {"same": same}, few, ledger)
    assert "same hardly reacts" in " ".join(report.remarks(moved)) and moved.agreements["same"][0].icc.value == pytest.approx(0, abs=1e-9)


def test_missing_answers_are_dropped_and_counted(profiles, ledger):
    few = profiles[:40]
    silent = [item.name for item in ITEMS.items if item.trait == "extraversion"] + [ITEMS.items[1].name]
    base, other = Planted("llm", few, noise=0.2), Planted("other", few, noise=0.2, silent=silent)
    found = run(base, {"other": other}, few, ledger)
    extraversion = found.agreements["other"][2]
    assert extraversion.icc.dropped == 40 and np.isnan(extraversion.icc.value) and np.isnan(extraversion.gap)
    assert all(own.icc.dropped == 0 and own.icc.value > 0.5 for own in found.agreements["other"] if own.trait != "extraversion")
    assert found.missing == {"llm": 0, "other": 40 * len(set(silent))}
    assert f"{40 * len(set(silent))} of 800 item answers are missing" in " ".join(report.remarks(found))


def test_an_interrupted_study_goes_on_and_comes_to_the_same(profiles, tmp_path):
    few = profiles[:12]
    whole = run(Planted("llm", few, noise=0.2), {"other": Planted("other", few, noise=0.2)}, few, Ledger(tmp_path / "one"))
    base, dying = Planted("llm", few, noise=0.2), Planted("other", few, noise=0.2, dies_after=7)
    with pytest.raises(KeyboardInterrupt):
        run(base, {"other": dying}, few, Ledger(tmp_path / "two"), chunk=2)
    base, other = Planted("llm", few, noise=0.2), Planted("other", few, noise=0.2)
    steps = []
    resumed = run(base, {"other": other}, few, Ledger(tmp_path / "two"), chunk=2, progress=lambda *step: steps.append(step))
    assert base.asked == [] and len(other.asked) == 6  # three chunks of two were kept
    np.testing.assert_array_equal(resumed.scores["other"], whole.scores["other"])
    assert resumed.agreements == whole.agreements
    assert steps[-1] == (480, 480, "asking other") and [step[0] for step in steps] == sorted(step[0] for step in steps)


def test_files_hold_every_score(profiles, ledger, tmp_path):
    few = profiles[:9]
    found = run(
        Planted("llm", few, noise=0.2), {"m": Planted("m", few, noise=0.3)}, few, ledger, again={"m": Planted("m2", few, noise=0.3)}, setting=("made up",)
    )
    paths = report.write(found, tmp_path / "out")
    with (tmp_path / "out" / "consistency.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 9 * 5 and {row["model"] for row in rows} == {"llm", "m", "m, other images"}
    row = next(row for row in rows if (row["profile"], row["model"], row["trait"]) == ("4", "m", "agreeableness"))
    assert float(row["score"]) == pytest.approx(found.scores["m"][3, 3], abs=1e-5) and int(row["profile_trait"]) == few[3].agreeableness
    page = paths[0].read_text()
    assert "identical prompts" in page and "stand-in" in page and "9 profiles; made up" in page and "shuffled" in page and "`m-0.3" in page
    pytest.importorskip("matplotlib")
    assert report.draw(found, tmp_path / "out" / "p.png").stat().st_size > 5000
    with pytest.raises(BeholderError, match="ending in"):
        report.draw(found, tmp_path / "out" / "p.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(BeholderError, match="--out"):
        report.write(found, tmp_path / "file")
    report.write(replace(found, setting=(f"images of {os.fsdecode(bytes([0xE9]))}",)), tmp_path / "odd")
    assert b"images of \xe9" in (tmp_path / "odd" / "report.md").read_bytes()


def test_what_cannot_be_compared_is_refused(profiles, ledger):
    few = profiles[:5]
    base, other = Planted("llm", few, noise=0.2), Planted("other", few, noise=0.2)
    with pytest.raises(BeholderError, match="no model to compare"):
        run(base, {}, few, ledger)
    with pytest.raises(BeholderError, match="too few"):
        run(base, {"m": other}, few[:2], ledger)
    with pytest.raises(BeholderError, match="lacks one of openness"):
        run(base, {"m": other}, [*few, Profile(openness=3)], ledger)
    for options in ({"others": {"llm": other}}, {"others": {"m": other}, "again": {"n": other}}):
        with pytest.raises(BeholderError, match="labels"):
            run(base, options.pop("others"), few, ledger, **options)


# --- profiles


def test_profiles_of_a_dataset_are_raters_with_all_of_the_big_five():
    made = simulate(mixed(n_raters=30, n_images=10, ratings_per_rater=5, seed=1)).dataset
    random = np.random.default_rng(0)
    people = [Profile(age=20 + i, **dict(zip(BIG_FIVE, random.integers(1, 11, 5).tolist(), strict=True))) for i in range(30)]
    dataset = replace(made, profiles=tuple(replace(one, neuroticism=None) if i % 3 == 0 else one for i, one in enumerate(people)))
    found = sampled_profiles(dataset, 12, seed=4)
    whole = [replace(one, age=None) for i, one in enumerate(people) if i % 3]
    assert len(found) == 12 and all(one in whole for one in found) and len({tuple(one.known().items()) for one in found}) == 12
    assert sampled_profiles(dataset, 12, seed=4) == found != sampled_profiles(dataset, 12, seed=5)
    assert len(sampled_profiles(dataset, 20)) == 20
    with pytest.raises(BeholderError, match="20 raters with all of the Big Five, 21"):
        sampled_profiles(dataset, 21)


def test_only_the_big_five_are_told(profiles, ledger):
    few = profiles[:5]
    base, other = Planted("llm", few, noise=0.2), Planted("other", few, noise=0.2)
    run(base, {"m": other}, [replace(profile, age=30, gender="female") for profile in few], ledger)
    assert base.asked == other.asked == [render(profile, style=STYLE) for profile in few]


# --- P-MLLMs on a random language model


def tiny(**options):
    import tiny_llama

    return tiny_llama.pmllm(tiny_llama.llama(spread=0.25), **options)


def tiny_study(model, ledger, *, profiles):
    import tiny_llama
    from beholder.personas.closed_form import ClosedForm

    images = tiny_llama.features(7)
    others = {"m": ClosedForm.of_pmllm(model, images, seed=0)}
    again = {"m": ClosedForm.of_pmllm(model, images, seed=1)}
    return study(ClosedForm(model.language_model), others, profiles=profiles, inventory=FEW, style="short", ledger=ledger, again=again)


def test_closed_gates_leave_the_language_model_as_it_was(profiles, ledger):
    pytest.importorskip("torch")
    found = tiny_study(tiny(gate="scalar", wake=0), ledger, profiles=profiles[:8])
    for own in found.agreements["m"]:
        assert own.base_spread > 0.01 and own.icc.value == pytest.approx(1, abs=1e-5) and own.gap < 1e-4
        assert own.again.value == pytest.approx(1, abs=1e-5) and own.shuffled < 0.5


def test_open_gates_make_it_somebody_else_and_the_image_matters(profiles, ledger):
    pytest.importorskip("torch")
    found = tiny_study(tiny(gate="scalar", wake=3.0), ledger, profiles=profiles[:8])
    assert np.mean([own.icc.value for own in found.agreements["m"]]) < 0.9
    assert np.mean([own.gap for own in found.agreements["m"]]) > 0.05
    assert np.abs(found.scores["m"] - found.again["m"]).max() > 0.01
    assert len(set(found.versions.values())) == 3


REQUESTS = [
    ChatRequest("Do you like parties?", system="openness 7; neuroticism 3"),
    ChatRequest("What do you do on a rainy day, and why?", system="age 30"),
    ChatRequest("Do you like parties?"),
    ChatRequest("Do you like parties? <|im_end|>", system="likes red"),
]


@pytest.mark.parametrize("mask_from", ["content", "header"])
def test_free_text_with_closed_gates_is_the_language_models_own(mask_from):
    pytest.importorskip("torch")
    import tiny_llama
    from beholder.personas.pmllm_chat import PMLLMChat

    model = tiny(gate="scalar", wake=0, mask_from=mask_from)
    chat, alone = PMLLMChat(model, tiny_llama.features(5)), PMLLMChat(model)
    written = [reply.text for reply in chat.ask(REQUESTS, max_tokens=12)]
    assert written == [reply.text for reply in alone.ask(REQUESTS, max_tokens=12)]
    assert written == model.language_model.answer([(one.system, one.text) for one in REQUESTS], max_new_tokens=12)
    assert len(set(written)) > 1
    assert chat.version != alone.version and not chat.sees


def test_free_text_is_what_the_plain_path_writes_with_its_image():
    pytest.importorskip("torch")
    import torch

    import tiny_llama
    from beholder.personas.pmllm_chat import PMLLMChat

    model, images = tiny(wake=1.0), tiny_llama.features(5)
    chat = PMLLMChat(model, images, seed=3)
    language = model.language_model
    for request, reply in zip(REQUESTS[:2], chat.ask(REQUESTS[:2], max_tokens=6), strict=True):
        before = language.encode(language.chat.before_user(request.system))
        tokens = language.encode(language.chat.before_user(request.system) + request.text + language.chat.after_user)
        seen = model.image_tokens(torch.from_numpy(images[[chat.image_of(request)]]))
        for _ in range(6):
            mask = torch.arange(len(tokens))[None] >= len(before)
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens]), images=seen, mask=mask)[0, -1].argmax()))
        made = tokens[-6:]
        ends = [place for place, token in enumerate(made) if token in language.stop]
        assert reply.text == language.tokenizer.decode(made[: ends[0]] if ends else made, skip_special_tokens=True).strip()
    assert [reply.text for reply in chat.ask(REQUESTS[:2], max_tokens=6)] != [
        reply.text for reply in PMLLMChat(model).ask(REQUESTS[:2], max_tokens=6)
    ]


def test_an_image_belongs_to_persona_and_question_whatever_else_is_asked(tmp_path):
    pytest.importorskip("torch")
    import tiny_llama
    from beholder.personas.pmllm_chat import PMLLMChat

    model, images = tiny(wake=1.0), tiny_llama.features(5)
    many = [ChatRequest(f"Question {i}?", system=f"age {j}") for i in range(20) for j in range(20)]
    chat = PMLLMChat(model, images, cache=ReplyCache(tmp_path))
    drawn = [chat.image_of(request) for request in many]
    assert drawn == [PMLLMChat(model, images).image_of(request) for request in many]
    assert np.bincount(drawn, minlength=5).min() > 50  # 80 each
    other = PMLLMChat(model, images, seed=1)
    assert 0.6 < np.mean([chat.image_of(request) != other.image_of(request) for request in many]) < 0.95
    assert len({chat.version, other.version, PMLLMChat(model, images[:4]).version, PMLLMChat(tiny(wake=1.0, seed=2), images).version}) == 4
    first = chat.ask(REQUESTS, max_tokens=4)
    again = PMLLMChat(model, images, cache=ReplyCache(tmp_path)).ask(REQUESTS, max_tokens=4)
    assert [one.text for one in again] == [one.text for one in first] and all(one.cached for one in again)
    with pytest.raises(BeholderError, match="no image"):
        PMLLMChat(model, images[:0])
    with pytest.raises(BeholderError, match="shorten"):
        chat.ask([ChatRequest("why? " * 2000)])


# --- the command


def weights_of(folder, language_model, *, scorer="pmllm"):
    """P-MLLM weights for the random CLIP tower's tokens, hardly trained."""
    from beholder.engine.source import Features
    from beholder.scorers import encoder_for, feature_layers, make

    name = tiny_models.named(scorer, language_model, steps=1)
    clip = f"{folder / 'clip'}[fit=pad]"
    features = Features(encoder_for([name], encoder=clip), layers=feature_layers(name, encoder=clip))
    dataset = read("folder", folder / "data")
    return make(name, features=features, trained=False).fit(dataset).save_pretrained(folder / f"{scorer}-{language_model.name}")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEHOLDER_CACHE", str(root / "cache"))
        tiny_models.save_llama(root / "llm", spread=0.25)
        tiny_models.save_llama(root / "other", seed=5)
        tiny_models.save_clip(root / "clip")
        tiny_models.folder_dataset(root / "data", n_raters=4, n_images=6)
        weights_of(root, root / "llm")
        weights_of(root, root / "llm", scorer="pmllm-s")
        weights_of(root, root / "other")
    items = [{name: getattr(item, name) for name in ("name", "trait", "question", "statement")} | {"reverse": item.reverse} for item in FEW.items]
    (root / "few.json").write_text(json.dumps(items))
    return root


def command(folders, *arguments, second="pmllm-s=pmllm-s-llm"):
    name, _, folder = second.partition("=")
    options = ["--models", f"pmllm,{name}", "--weights", f"pmllm={folders / 'pmllm-llm'}", "--weights", f"{name}={folders / folder}"]
    options += ["--photos", folders / "data" / "images", "--encoder", f"{folders / 'clip'}[fit=pad]", "--profiles", "4", "--format", "short"]
    return beholder("personas", "consistency", *options, "--inventory", folders / "few.json", *arguments)


def test_the_command_compares_weights_and_asks_nothing_twice(folders, tmp_path):
    result = command(folders, "--out", tmp_path / "out", "--json", "--images", "5")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["base"] == "llm" and list(found["models"]) == ["pmllm", "pmllm-s"] and found["profiles"] == 4
    assert "5 images of" in found["protocol"] and "made up" in found["protocol"] and "mode closed" in found["protocol"]
    assert all(one["icc"]["n"] == 4 and one["other_images"] and one["paper"] for one in found["models"]["pmllm"].values())
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"report.md", "consistency.csv"}
    again = command(folders, "--images", "5")
    assert again.exit_code == 0 and "every answer was known" in again.stderr
    assert f"{found['models']['pmllm']['openness']['icc']['value']:.3f}" in again.stdout and "paired differences" in again.stdout


def test_the_command_in_words(folders):
    result = command(folders, "--mode", "open", "--no-other-images", "--json", "--profiles", "3")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert "answers rated by the language model itself" in found["protocol"] and set(found["missing"]) == {"llm", "pmllm", "pmllm-s"}
    assert found["models"]["pmllm"]["openness"]["other_images"] is None


@pytest.mark.parametrize(
    ("arguments", "second", "expected"),
    [
        ([], "mine=pmllm-other", "pmllm is made of the language model .*, mine of "),
        (["--mode", "spoken"], None, "no mode 'spoken'"),
        (["--rater", "x"], None, "leave it out, or choose --mode open"),
        (["--mode", "open", "--balanced"], None, "belongs to the mode closed"),
        (["--dataset", "folder"], None, "go together"),
        (["--weights", "who=there"], None, "does not say which model's"),
        (["--models", "pmllm,pmllm"], None, "different names"),
        (["--models", "taste"], None, "--weights"),
        (["--format", "99999"], None, "header"),
    ],
)
def test_the_command_refuses(folders, arguments, second, expected):
    result = command(folders, *arguments, **({"second": second} if second else {}))
    assert result.exit_code == 2 and re.search(expected, one_sentence(result.stderr))


def test_the_command_needs_photographs_and_p_mllms(tmp_path):
    assert "--photos DIR" in one_sentence(beholder("personas", "consistency").stderr)
    result = beholder("personas", "consistency", "--photos", tmp_path)
    assert result.exit_code == 2 and "no photographs" in one_sentence(result.stderr)
    assert "no P-MLLM" in one_sentence(beholder("personas", "consistency", "--models", "taste", "--photos", tmp_path).stderr)
    nothing = beholder("personas", "consistency", "--models", "mine", "--weights", f"mine={tmp_path}", "--photos", tmp_path)
    assert "holds no weights" in one_sentence(nothing.stderr)
