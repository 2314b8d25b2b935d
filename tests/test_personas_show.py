"""`beholder personas show`: the system message on standard output, and only that."""

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from beholder.cli.app import Verbs
from beholder.cli.personas_show import show
from beholder.personas.prompts import PersonaFormat, reduced, render
from beholder.profile import Profile
from command_line import one_sentence

ANNA = Profile(age=34, gender="female", nationality="Ελλάδα", art_interest=7.5, openness=8, neuroticism=3, photography_experience="expert")
app = typer.Typer(cls=Verbs)
app.command("show")(show)
app.command("other")(lambda: None)  # with one verb alone its name would not be asked for


def run(*arguments):
    return CliRunner().invoke(app, ["show", *map(str, arguments)], catch_exceptions=False, prog_name="beholder")


@pytest.fixture
def anna(tmp_path):
    ANNA.to_toml(tmp_path / "anna.toml")
    return tmp_path / "anna.toml"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], render(ANNA)),
        (["--format", "00020"], render(ANNA)),
        (["--format", "02310"], render(ANNA, style=PersonaFormat(0, 2, 3, 1, 0))),
        (["--format", "short"], "age 34; female; Ελλάδα; photography experience expert; art interest 7.5/10; openness 8/10; neuroticism 3/10"),
        (["--variant", "T"], render(reduced(ANNA, "T"))),
        (["--variant", "D", "--format", "short"], "age 34; female; Ελλάδα; photography experience expert; art interest 7.5/10"),
    ],
)
def test_the_text_and_nothing_else(anna, options, text):
    result = run("--profile", anna, *options)
    assert (result.exit_code, result.stdout, result.stderr) == (0, text + "\n", "")


def test_as_json(anna):
    result = run("--profile", anna, "--json", "--variant", "T")
    text = render(reduced(ANNA, "T"))
    assert json.loads(result.stdout) == {
        "text": text,
        "format": "published",
        "code": "00020",
        "variant": "T",
        "template": None,
        "characters": len(text),
        "words": len(text.split()),
    }
    found = json.loads(run("--profile", anna, "--json", "--format", "short", "--template", "lapis").stdout)
    assert (found["text"], found["code"], found["template"], found["words"]) == ("age 34; female; Ελλάδα; art interest 7.5/10", None, "lapis", 7)


def test_what_a_template_leaves_out_is_said(anna):
    result = run("--profile", anna, "--template", "para")
    assert result.stdout == render(ANNA, template="para") + "\n" and "Nationality" not in result.stdout
    assert one_sentence(result.stderr) == "the template para has no place for nationality, art_interest: left out"


def test_unknown_fields_are_kept_and_said(tmp_path):
    path = tmp_path / "me.toml"
    path.write_text('opennes = 8\nshoe = 43\n"Lieblingsmotiv" = "Nebel"\nage = 30\n', encoding="utf-8")
    result = run("--profile", path)
    assert "- opennes: 8\n- shoe: 43\n- Lieblingsmotiv: Nebel\n" in result.stdout
    assert result.stderr.splitlines() == [
        "beholder: opennes is no known field and kept as a line of its own; did you mean openness?",
        "beholder: shoe, Lieblingsmotiv: no known fields, kept as lines of text",
    ]
    result = run("--profile", path, "--template", "para", "--format", "short")
    assert result.stdout == "age 30\n"
    assert one_sentence(result.stderr) == "the template para has no place for opennes, shoe, Lieblingsmotiv: left out"


def test_nothing_left(anna, tmp_path):
    (tmp_path / "empty.toml").write_text("")
    for options in (["--profile", anna, "--variant", "none"], ["--profile", tmp_path / "empty.toml"]):
        result = run(*options)
        assert (result.exit_code, result.stdout) == (0, "")
        assert "nothing is left of the profile: the model gets no system message" in one_sentence(result.stderr)
        found = json.loads(run(*options, "--json").stdout)
        assert (found["text"], found["characters"], found["words"]) == ("", 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "shrot"], "there is no persona format 'shrot': choose published, short, or five digits such as 00020 (header 0-2,"),
        (["--format", "00050"], "instruction = 5: there are 3, numbered from 0 to 2"),
        (["--variant", "D+t"], "there is no profile variant 'D+t': choose one of none, D, T, D+T"),
        (["--template", "PARA2"], "there is no persona template 'PARA2': choose one of para, lapis"),
    ],
)
def test_what_there_is_not(anna, options, message):
    result = run("--profile", anna, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in one_sentence(result.stderr)


def test_wrong_profiles(tmp_path):
    result = run()
    assert result.exit_code == 2
    assert one_sentence(result.stderr) == "no profile was given to show: say --profile FILE.toml; beholder profile new writes one"
    assert "cannot be read" in one_sentence(run("--profile", tmp_path / "nobody.toml").stderr)
    (tmp_path / "wrong.toml").write_text("openness = 0\nage = 300\n")
    message = one_sentence(run("--profile", tmp_path / "wrong.toml").stderr)
    assert "age = 300" in message and "openness = 0" in message


def test_no_torch_is_imported(anna):
    code = (
        "import sys, pathlib; from beholder.cli.personas_show import show; show(pathlib.Path(sys.argv[1]), style='short', variant='T', "
        "template=None, as_json=False); assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(anna)], capture_output=True, text=True, check=True)
    assert ran.stdout == "openness 8/10; neuroticism 3/10\n"
