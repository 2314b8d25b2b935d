"""Learning from several datasets together: the eye, `beholder train --with`, `beholder bench --with`, and training parts."""

import json

import pytest

from beholder import datasets
from beholder.engine.source import Features
from beholder.eye import Eye, check_takes_others
from beholder.features import FeatureStore
from command_line import beholder, refused
from joint_scorers import Joint
from pamela_layout import make_pamela
from published_layouts import make_flickr_aes, make_para
from slow_encoder import SlowEncoder
from stub_scorers import Stub

JOINT = "joint_scorers:Joint"


@pytest.fixture(autouse=True)
def fresh():
    Joint.learned_from.clear()


@pytest.fixture
def pamela(tmp_path):
    return make_pamela(tmp_path / "PAMELA", n_images=10)


@pytest.fixture
def para(tmp_path):
    return make_para(tmp_path / "PARA", n_raters=4, n_images=6)


def refusal(*arguments):
    """The one line with which the program refuses."""
    result = beholder(*arguments)
    last = result.stderr.strip().splitlines()[-1]
    assert result.exit_code == 2 and last.startswith("beholder: "), result.stderr
    return last


def features(tmp_path):
    return Features(SlowEncoder(), store=FeatureStore(tmp_path / "features"))


def test_the_eye_looks_at_the_photographs_of_all_datasets(tmp_path, pamela, para):
    source = features(tmp_path)
    main, other = datasets.read("pamela", pamela), datasets.read("para", para)
    seen = []
    with Eye(Joint(features=source), features=source) as eye:
        eye.fit(main, others=[other], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)
    ((train, others),) = Joint.learned_from
    assert train is main and others == (other,)
    assert eye.scorer.means == {one.name: pytest.approx(one.scale.to_unit(one.rating_score).mean()) for one in (main, other)}


def test_one_dataset_is_given_to_scorers_that_know_no_others(tmp_path, para):
    source = features(tmp_path)
    data = datasets.read("para", para)
    with Eye(Stub(features=source), features=source) as eye:
        eye.fit(data)
        assert eye.scorer.shift == pytest.approx(data.rating_score.mean())
        refused(lambda: eye.fit(data, others=[data]), "stub cannot learn from several datasets together", "--with")
    check_takes_others(Stub, Joint)  # one that can is enough
    refused(lambda: check_takes_others(Stub), "leave the others out")


def test_train_with_another_dataset(tmp_path, pamela, para):
    out = tmp_path / "weights"
    command = ["train", JOINT, "--dataset", "pamela", "--data", pamela, "--with", f"para={para}", "--out", out]
    result = beholder(*command)
    assert result.exit_code == 0, result.stderr
    data = datasets.read("pamela", pamela)
    n_train = data.parts.count("train")
    ((train, others),) = Joint.learned_from
    assert set(train.parts) == {"train"} and len(train.rating_score) == n_train
    assert [(one.name, len(one.rating_score)) for one in others] == [("para", 24)]
    unused = len(data.parts) - n_train
    assert f"pamela: only the {n_train} ratings of the part train are learned from, not the other {unused}" in result.stderr
    assert f"learned from {n_train} ratings of 10 images by 4 raters, with 24 ratings of para" in result.stdout
    assert set(json.loads((out / "config.json").read_text())) == {"pamela", "para"}
    summary = json.loads(beholder(*command, "--json").stdout)
    assert (summary["ratings"], summary["with"]) == (n_train, {"para": 24})


def test_the_training_part_of_the_other_dataset_only(tmp_path, pamela, para):
    result = beholder("train", JOINT, "--dataset", "para", "--data", para, "--with", f"pamela={pamela}", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    ((train, others),) = Joint.learned_from
    assert train.name == "para" and train.parts == () and len(train.rating_score) == 24
    assert set(others[0].parts) == {"train"}


def test_with_may_be_given_several_times(tmp_path, pamela, para):
    more = make_flickr_aes(tmp_path / "F", n_raters=3, n_images=4)
    others = ["--with", f"para={para}", "--with", f"flickr-aes = {more}"]
    result = beholder("train", JOINT, "--dataset", "pamela", "--data", pamela, *others, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert [other.name for other in Joint.learned_from[0][1]] == ["para", "flickr-aes"]


REFUSED = {
    "no equals sign": ([JOINT, "--with", "para"], "--with = 'para' does not say where the dataset is: write NAME=DIR"),
    "no folder": ([JOINT, "--with", "para="], "write NAME=DIR"),
    "unknown": ([JOINT, "--with", "parra=."], "there is no dataset 'parra': did you mean para?"),
    "not there": ([JOINT, "--with", "para=/nowhere"], "/nowhere is not a folder"),
    "the same": ([JOINT, "--with", "pamela={pamela}"], "names pamela, which is there already"),
    "twice": ([JOINT, "--with", "para={para}", "--with", "para={para}"], "names para, which is there already"),
    "not to": (["pamela[joint=false]", "--with", "para={para}"], "pamela[joint=false] learns from one dataset alone (joint=false)"),
    "one dataset only": (["stub_scorers:Stub", "--with", "para={para}"], "stub cannot learn from several datasets together"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_train_refuses(tmp_path, pamela, para, case):
    arguments, message = REFUSED[case]
    arguments = [text.format(pamela=pamela, para=para) for text in arguments]
    assert message in refusal("train", *arguments, "--dataset", "pamela", "--data", pamela, "--out", tmp_path / "out")
    assert Joint.learned_from == []


def test_parts_without_one_for_training_are_refused(tmp_path):
    root = make_pamela(tmp_path / "PAMELA", parts=["val_seen", "test_seen"])
    message = refusal("train", JOINT, "--dataset", "pamela", "--data", root, "--out", tmp_path / "out")
    assert "pamela has no ratings in the part train, only in test_seen, val_seen" in message


def test_bench_with_another_dataset(tmp_path, pamela, para):
    command = ["bench", "para", "--root", para, "--scorer", JOINT, "--fit", "--folds", 2, "--shots", "0", "--no-controls"]
    result = beholder(*command, "--with", f"pamela={pamela}", "--json")
    assert result.exit_code == 0, result.stderr
    assert len(Joint.learned_from) == 2
    for train, others in Joint.learned_from:
        assert train.name == "para" and 0 < len(train.rating_score) < 24
        assert [other.name for other in others] == ["pamela"] and set(others[0].parts) == {"train"}


def test_what_bench_refuses(tmp_path, pamela, para):
    start = ["bench", "para", "--root", str(para), "--folds", "2", "--shots", "0"]
    for arguments, message in (
        ([*start, "--scorer", JOINT, "--with", f"pamela={pamela}"], "but nothing is trained: leave it out, or write --fit"),
        ([*start, "--scorer", "stub_scorers:Stub", "--fit", "--with", f"pamela={pamela}"], "stub cannot learn from several datasets"),
        ([*start, "--scorer", "pamela[joint=false],taste", "--fit", "--with", f"pamela={pamela}"], "learns from one dataset alone"),
        ([*start, "--scorer", JOINT, "--fit", "--with", f"para={para}"], "names para, which is there already"),
    ):
        assert message in refusal(*arguments)


def test_the_images_of_the_others_are_looked_at_before_the_bench(para, pamela, monkeypatch):
    from beholder.engine import local

    looked_at, index = [], local.index
    monkeypatch.setattr(local, "index", lambda images, **options: looked_at.append(list(images)) or index(images, **options))
    command = ["bench", "para", "--root", para, "--scorer", JOINT, "--fit", "--folds", 2, "--shots", "0", "--no-controls"]
    assert beholder(*command, "--with", f"pamela={pamela}").exit_code == 0
    wanted = {str(path) for name, root in (("para", para), ("pamela", pamela)) for path in datasets.read(name, root).images}
    assert len(wanted) == 16 and set(looked_at[0]) == wanted and len(looked_at[0]) == 16
