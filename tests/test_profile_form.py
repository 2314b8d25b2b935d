"""`beholder profile new`: the whole form through the command line, stopped and gone on with, and on a real terminal."""

import json
import os
import select
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from beholder.errors import BeholderError
from beholder.personas.inventory import load_inventory, norms, percentile
from beholder.personas.profile_form import Field, draft_path, profile_form, read_draft
from beholder.profile import BIG_FIVE, Profile
from command_line import beholder, one_sentence

ABOUT = ["34", "Female", "MA", "Austria", "2", "expert", "7", "8.5"]
STATEMENTS = ["2", "4", "4", "3", "5", "4", "2", "2", "3", "1", "2", "5", "4", "2", "1", "4", "2", "2", "4", "1"]
KNOWN = {
    "age": 34,
    "gender": "female",
    "education": "MA",
    "nationality": "Austria",
    "art_experience": "competent",
    "photography_experience": "expert",
    "art_interest": 7,
    "photography_interest": 8.5,
}
TRAITS = dict(zip(BIG_FIVE, (10, 7.75, 3.25, 8.31, 4.38), strict=True))  # means 5, 4, 2, 4.25, 2.5


def new(folder, answers, *arguments):
    """Run `profile new` with piped answers; the profile lies in the folder. The result is as of `beholder`."""
    from beholder.cli.app import app

    command = ["profile", "new", "--out", str(folder / "me.toml"), *arguments]
    return CliRunner().invoke(app, command, input="".join(f"{answer}\n" for answer in answers), catch_exceptions=False, prog_name="beholder")


def test_a_full_run_writes_a_profile_and_says_where_everything_stays(tmp_path):
    result = new(tmp_path, ABOUT + STATEMENTS)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("Nothing you say leaves this computer")
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN, **TRAITS)
    assert os.listdir(tmp_path) == ["me.toml"]
    text = (tmp_path / "me.toml").read_text(encoding="utf-8")
    share = percentile("extraversion", 2, norms=norms())
    assert f"extraversion = 3.25  # percentile {share:.0f}, from 4 of 4 statements" in text
    for said in (result.stdout, text):
        assert "603,322 visitors of openpsychometrics.org" in said and "advises against them" in said
    assert "[28/28] I do not have a good imagination." in result.stdout


def test_scores_are_those_of_the_inventory():
    mini = load_inventory()
    answers = dict(zip((item.name for item in mini.items), map(int, STATEMENTS), strict=True))
    scores = mini.trait_scores([float(value) for value in STATEMENTS])
    assert [trait.score for trait in profile_form().result(answers).traits] == pytest.approx(scores, abs=0.005)
    assert list(TRAITS.values()) == pytest.approx(scores, abs=0.005)


def test_everything_can_be_skipped(tmp_path):
    result = new(tmp_path, [""] * 28)
    assert result.exit_code == 0 and "which says nothing about you" in result.stdout
    assert not Profile.from_toml(tmp_path / "me.toml")
    assert result.stdout.count("left out, 2 are needed") == 5 and os.listdir(tmp_path) == ["me.toml"]


def test_a_trait_needs_two_answers(tmp_path):
    answers = [""] * 20
    answers[0], answers[5], answers[1] = "5", "2", "5"  # extraversion twice, agreeableness once
    result = new(tmp_path, [""] * 8 + answers)
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(extraversion=8.88)
    assert "2 of 4" in result.stdout and "1 of 4: left out, 2 are needed" in result.stdout


def test_without_the_inventory(tmp_path):
    result = new(tmp_path, ABOUT, "--without-inventory")
    assert result.exit_code == 0 and "[8/8]" in result.stdout and "Big Five" not in result.stdout
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN)
    assert "ercentile" not in (tmp_path / "me.toml").read_text()


def test_back_shows_what_was_said_and_changes_keeps_or_clears_it(tmp_path):
    result = new(tmp_path, ["b", "34", "female", "b", "b", "35", "", "MA", "b", "-", *ABOUT[3:]], "--without-inventory")
    assert result.exit_code == 0, result.output
    assert "this is the first question" in result.stdout
    assert "(now 34; Enter keeps it, - clears it)" in result.stdout and "(now female; Enter keeps it" in result.stdout
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN | {"age": 35, "education": None})


def test_wrong_answers_get_a_sentence_and_are_asked_again(tmp_path):
    wrong = ["old", "0", *ABOUT[:4], "guru", "5", ABOUT[4], ABOUT[5], "11", ABOUT[6], "\x1b[A", ABOUT[7], "0", "6", "agree", "3.5", *STATEMENTS]
    result = new(tmp_path, wrong)
    assert result.exit_code == 0, result.output
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN, **TRAITS)
    for sentence in ("age = 'old' is not an age", "art_experience = 'guru' is not one of", "art_experience = '5' is not one of", "art_interest = '11'"):
        assert sentence in result.stdout
    assert "signs that are not text" in result.stdout
    assert result.stdout.count("is not an answer: give a whole number from 1 (disagree) to 5 (agree)") == 4
    assert result.stdout.count("[9/28]") == 5


@pytest.mark.parametrize("stop", [1, 5, 8, 9, 20, 27])
def test_interrupted_and_gone_on_with_is_the_same_file(tmp_path, stop):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    answers = ABOUT + STATEMENTS
    new(whole, answers)
    stopped = new(parts, answers[:stop])
    assert stopped.exit_code == 130 and f"kept in {parts / '.me.toml.draft'}" in stopped.stderr
    assert os.listdir(parts) == [".me.toml.draft"]
    resumed = new(parts, answers[stop:])
    assert resumed.exit_code == 0 and f"going on where you stopped, {stop} of 28 questions done" in resumed.stderr
    assert f"[{stop + 1}/28]" in resumed.stdout and f"[{stop}/28]" not in resumed.stdout
    assert (parts / "me.toml").read_bytes() == (whole / "me.toml").read_bytes() and os.listdir(parts) == ["me.toml"]


def test_going_on_after_going_back_is_at_the_question_one_went_back_to(tmp_path):
    new(tmp_path, [*ABOUT[:4], "b", "b"], "--without-inventory")
    resumed = new(tmp_path, ["BA", "", *ABOUT[4:]], "--without-inventory")
    assert "[3/8] Your education, in your own words (now MA; Enter keeps it" in resumed.stdout
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN | {"education": "BA"})


def test_stopping_before_anything_is_said_keeps_nothing(tmp_path):
    result = new(tmp_path, [])
    assert result.exit_code == 130 and "nothing was said" in result.stderr and not os.listdir(tmp_path)


def test_a_draft_of_the_whole_form_serves_the_short_one(tmp_path):
    new(tmp_path, [*ABOUT, *STATEMENTS[:3]])
    assert new(tmp_path, [], "--without-inventory").exit_code == 0
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN)


@pytest.mark.skipif(os.name != "posix", reason="rights as on POSIX")
def test_draft_and_profile_are_for_their_owner_only(tmp_path):
    new(tmp_path, ["34"])
    assert (tmp_path / ".me.toml.draft").stat().st_mode & 0o077 == 0
    new(tmp_path, ABOUT[1:], "--without-inventory")
    assert (tmp_path / "me.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["", "[]", '{"version": 2}', '{"version": 1, "at": "", "answers": {"age": "old"}}', '{"version": 1, "answers": 3, "at": ""}'])
def test_a_damaged_draft_is_refused_and_left(tmp_path, damage):
    draft = tmp_path / ".me.toml.draft"
    draft.write_text(damage)
    result = new(tmp_path, ABOUT)
    assert result.exit_code == 2 and "is damaged" in (said := one_sentence(result.stderr)) and "delete it" in said
    assert draft.read_text() == damage


def test_unknown_answers_in_a_draft_are_left_out(tmp_path):
    draft = draft_path(tmp_path / "me.toml")
    draft.write_text(json.dumps({"version": 1, "answers": {"age": 34, "shoe": 43, "gender": None}, "at": "nowhere"}))
    form = profile_form()
    read = read_draft(draft, form=form)
    assert read.answers == {"age": 34, "gender": None} and form.fields[read.place(form.fields)].name == "education"


def test_an_existing_file_is_refused_unless_forced(tmp_path):
    (tmp_path / "me.toml").write_text("age = 99\n")
    result = new(tmp_path, ABOUT, "--without-inventory")
    assert result.exit_code == 2 and "--force" in one_sentence(result.stderr)
    assert (tmp_path / "me.toml").read_text() == "age = 99\n" and os.listdir(tmp_path) == ["me.toml"]
    assert new(tmp_path, ABOUT, "--without-inventory", "--force").exit_code == 0
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN)


def test_places_that_cannot_be_written_are_refused_before_anything_is_asked(tmp_path):
    (tmp_path / "me.toml").mkdir()
    assert "is a folder" in one_sentence(new(tmp_path, ABOUT).stderr)
    for folder in (".", "/"):  # which have no name
        assert "is a folder" in one_sentence(beholder("profile", "new", "--out", folder).stderr)
    result = new(tmp_path / "nowhere", ABOUT)
    assert result.exit_code == 2 and "does not exist" in one_sentence(result.stderr) and "[1/28]" not in result.stdout


def test_what_is_no_text_is_no_answer():
    for answer in ("\udcff", "a\x00b"):
        with pytest.raises(BeholderError, match="not text"):
            Field("gender", "").parse(answer)
    assert Field("nationality", "").parse(" a  \u200cb\n") == "a \u200cb" and Field("age", "").parse("  ") is None


def test_show(tmp_path):
    path = tmp_path / "me.toml"
    path.write_text('age = 34\ngendre = "female"\n')
    result = beholder("profile", "show", path)
    assert result.exit_code == 0 and "gendre" in result.stdout and "did you mean gender?" in result.stderr
    assert json.loads(beholder("profile", "show", path, "--json").stdout) == {"age": 34, "gendre": "female"}
    path.write_text("born = 1990-01-02\nhope = inf\n")
    assert json.loads(beholder("profile", "show", path, "--json").stdout) == {"born": "1990-01-02", "hope": "inf"}
    path.write_text("")
    assert "says nothing" in beholder("profile", "show", path).stdout


class Terminal:
    """`beholder profile new` on a pseudo-terminal of its own."""

    def __init__(self, folder, *arguments):
        self.ours, theirs = os.openpty()
        code = (
            "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
            "signal.signal(signal.SIGINT, signal.default_int_handler); "  # what runs the tests may ignore it, and that is inherited
            "from beholder.cli import main; main()"
        )
        command = [sys.executable, "-c", code, "profile", "new", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True)
        os.close(theirs)
        self.said = ""

    def _read(self):
        """Whether there is more; a terminal that falls silent is a failure, not a hang."""
        assert select.select([self.ours], [], [], 60)[0], self.said
        try:
            chunk = os.read(self.ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.said += chunk.decode()
        return bool(chunk)

    def read_until(self, text):
        """Everything said until then; it is forgotten."""
        while text not in self.said:
            assert self._read(), self.said
        before, _, self.said = self.said.partition(text)
        return before + text

    def type(self, text):
        os.write(self.ours, text.encode())

    def ended(self):
        """The exit code, and what was said last."""
        while self._read():
            pass
        code = self.process.wait(60)
        os.close(self.ours)
        return code, self.said


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_on_a_terminal_with_ctrl_c_ctrl_d_and_a_question_before_replacing(tmp_path):
    first = Terminal(tmp_path, "--without-inventory")
    first.read_until("[1/8]")
    first.type("34\n")
    first.read_until("[2/8]")
    first.type("fem")
    first.type("\x03")
    code, said = first.ended()
    assert code == 130 and "stopped; what you said is kept in .me.toml.draft" in said and "Traceback" not in said
    second = Terminal(tmp_path, "--without-inventory")
    second.read_until("[2/8]")
    second.type("female\n")
    second.read_until("[3/8]")
    second.type("\x04")
    code, said = second.ended()
    assert code == 130 and "stopped" in said
    (tmp_path / "me.toml").write_text("age = 99\n")
    third = Terminal(tmp_path, "--without-inventory")
    third.read_until("Replace it when you are done?")
    third.type("n\n")
    code, said = third.ended()
    assert code == 2 and "left as it is" in said and (tmp_path / "me.toml").read_text() == "age = 99\n"
    fourth = Terminal(tmp_path, "--without-inventory")
    fourth.read_until("Replace it when you are done?")
    fourth.type("y\n")
    for number, answer in enumerate(ABOUT[2:], start=3):
        fourth.read_until(f"[{number}/8]")
        fourth.type(f"{answer}\n")
    code, said = fourth.ended()
    assert code == 0 and "wrote me.toml" in said
    assert Profile.from_toml(tmp_path / "me.toml") == Profile(**KNOWN) and os.listdir(tmp_path) == ["me.toml"]
