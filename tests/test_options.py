"""Options in text become typed values; names of scorers with options in brackets are taken apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from beholder.errors import BeholderError
from beholder.options import from_texts, keywords_from_texts, parse_brackets
from beholder.scorers import parse_name, scorer_class, split_names, typed_options


@dataclass(frozen=True)
class Options:
    name: str = "x"
    count: int = 3
    rate: float = 0.5
    quick: bool = False
    folder: Path = Path("here")
    gate: Literal["embedding", "scalar"] = "embedding"
    bias: float | None = None
    form: Literal["chat", "plain"] | None = None


def test_texts_become_the_types_of_the_fields():
    given = {"name": "a b", "count": "5", "rate": "1e-3", "quick": "Yes", "folder": "a/b", "gate": "scalar", "bias": "-4", "form": "plain"}
    found = from_texts(Options, given, of="the scorer x")
    assert found == Options("a b", 5, 0.001, True, Path("a/b"), "scalar", -4.0, "plain")
    assert [type(value) for value in (found.count, found.rate, found.quick, found.bias)] == [int, float, bool, float]
    assert isinstance(found.folder, Path)
    assert from_texts(Options, {}, of="x") == Options()


@pytest.mark.parametrize("text", ["none", "None", ""])
def test_none_is_written_none(text):
    assert from_texts(Options, {"bias": text, "form": text}, of="x") == Options()
    assert from_texts(Options, {"name": text}, of="x").name == text  # a text stays one


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("on", True), ("1", True), ("false", False), ("No", False), ("off", False), ("0", False)])
def test_truth(text, value):
    assert from_texts(Options, {"quick": text}, of="x").quick is value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": "2.5"}, "count = '2.5' is not a whole number"),
        ({"count": "none"}, "count = 'none' is not a whole number"),
        ({"rate": "fast"}, "rate = 'fast' is not a number"),
        ({"bias": "low"}, "bias = 'low' is not a number"),
        ({"quick": "maybe"}, "quick = 'maybe' is neither true nor false"),
        ({"gate": "none"}, "gate = 'none' is not one of embedding, scalar"),
        ({"form": "poem"}, "form = 'poem' is not one of chat, plain"),
        ({"gat": "scalar"}, "the scorer x has no option 'gat': did you mean gate? Known are name, count, rate, quick, folder, gate, bias, form"),
        ({"GATE": "scalar"}, "the scorer x has no option 'GATE': did you mean gate? Known are name"),
        ({"zzz": "1"}, "the scorer x has no option 'zzz': Known are name, count"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(given, message):
    with pytest.raises(BeholderError) as error:
        from_texts(Options, given, of="the scorer x")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_keyword_arguments_of_a_function():
    def load(name, *, layers: int = 3, bias: float | None = None, progress: object = None):
        return name, layers, bias, progress

    assert keywords_from_texts(load, {"layers": "5", "bias": "none"}, of="the encoder") == {"layers": 5, "bias": None}
    for wrong in ("progress", "name"):
        with pytest.raises(BeholderError, match=rf"the encoder has no option '{wrong}': Known are layers, bias"):
            keywords_from_texts(load, {wrong: "1"}, of="the encoder", without=("progress",))


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("pmllm", "pmllm", {}),
        (" pmllm ", "pmllm", {}),
        ("pmllm[]", "pmllm", {}),
        ("pmllm[layers=5]", "pmllm", {"layers": "5"}),
        ("pmllm [ layers = 5 , gate-bias=-4, ]", "pmllm", {"layers": "5", "gate_bias": "-4"}),
        ("my.room:Class[folder=a=b]", "my.room:Class", {"folder": "a=b"}),
        ("x[bias=]", "x", {"bias": ""}),
        ("x[tasks=piaa+caption]", "x", {"tasks": "piaa+caption"}),
    ],
)
def test_names_are_taken_apart(text, name, options):
    assert parse_name(text) == (name, options)
    assert parse_brackets(text, of="the thing") == (name, options)


@pytest.mark.parametrize("text", ["pmllm[layers=5", "pmllm[layers]", "pmllm[=5]", "pmllm[a=1,b]", "pmllm[a=1]b"])
def test_brackets_that_cannot_be_understood(text):
    with pytest.raises(BeholderError, match=r"the scorer .* cannot be understood: options are written name\[option=value,option=value\]"):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("a, b ,,c", ["a", "b", "c"]),
        ("a,b[x=1,y=2]", ["a", "b[x=1,y=2]"]),
        ("a[x=1,y=2],b,c[z=3]", ["a[x=1,y=2]", "b", "c[z=3]"]),
        ("a[x=1],a[x=2]", ["a[x=1]", "a[x=2]"]),
        ("", []),
    ],
)
def test_lists_are_split_outside_brackets(text, names):
    assert split_names(text) == names


def test_only_scorers_with_options_take_them():
    class Without:
        name = "without"

    class With:
        name = "with"
        Options: ClassVar[type] = Options

    assert typed_options(Without, {}) == {}
    with pytest.raises(BeholderError, match="the scorer without has no options, but layers, gate was given: leave the brackets out"):
        typed_options(Without, {"layers": "5", "gate": "x"})
    assert typed_options(With, {"count": "7"}) == {"options": Options(count=7)}
    assert typed_options(With, {}) == {"options": Options()}
    with pytest.raises(BeholderError, match="the scorer with has no option 'layers'"):
        typed_options(With, {"layers": "5"})


def test_a_slip_in_an_option_of_a_scorer_that_comes_with_the_package():
    with pytest.raises(BeholderError, match=r"the scorer pmllm has no option 'devise': did you mean device\? Known are read, device"):
        typed_options(scorer_class("pmllm"), {"devise": "cpu"})
