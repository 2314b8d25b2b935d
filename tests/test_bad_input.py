"""Bad input to `beholder rank`: one clear sentence, the right exit code, no traceback, nothing lost."""

import json
import os
import resource
import struct
import zlib

import pytest

import image_files
from command_line import STUB, beholder, make_photos, one_sentence, process


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path / "photos")
    return tmp_path / "photos"


def rank(*arguments):
    result = beholder("rank", *arguments, *STUB, "--json")
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def refused(*arguments):
    code, rows, stderr = rank(*arguments)
    assert code == 2 and not rows
    return one_sentence(stderr)


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "ratings.csv"
    path.write_bytes(text.encode(encoding))
    return path


def huge_png(side):
    """A PNG that says it is side x side, and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


BAD_FILES = {
    "zero.png": (b"", "is empty"),
    "cut.jpg": (image_files.encoded(image_files.picture(400, 300), "JPEG")[:3000], "is cut off"),
    "huge.png": (huge_png(30_000), "is too large (30000 x 30000"),
    "text.jpg": (b"Dear diary, this is no photograph, whatever the name says.\n" * 5, "text"),
}


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(f"no photographs in {tmp_path / 'empty'}: give a folder")


def test_a_path_that_is_not_there(tmp_path):
    assert "does not exist: check the spelling" in refused(tmp_path / "nowhere")


def test_no_readable_image(tmp_path):
    for name, (data, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(data)
    sentence = refused(tmp_path)
    assert "no photographs in" in sentence and "cut.jpg is cut off" in sentence and "3 more skipped" in sentence


def test_good_and_bad_files_together(photos, tmp_path):
    for name, (data, _) in BAD_FILES.items():
        (photos / name).write_bytes(data)
    out = tmp_path / "ranking.csv"
    code, rows, stderr = rank(photos, "--out", out)
    assert code == 1 and len(rows) == 8
    assert all(row["score"] is not None and not row["skipped_reason"] for row in rows[:4])
    for row in rows[4:]:
        reason = BAD_FILES[os.path.basename(row["image"])][1]
        assert row["score"] is None and reason in row["skipped_reason"] and ":" in row["skipped_reason"]
    assert "4 of 8 files were skipped" in stderr and "Traceback" not in stderr
    assert len(out.read_text().splitlines()) == 9
    code, again, _ = rank(photos)
    assert (code, again) == (1, rows)


def test_a_profile_with_an_age_in_words(photos, tmp_path):
    profile = tmp_path / "me.toml"
    profile.write_text('age = "old"\n')
    sentence = refused(photos, "--profile", profile)
    assert sentence == f"profile {profile}: age = 'old' is not an age: give years from 1 to 120, or a band such as \"25-34\""
    assert "cannot be read" in refused(photos, "--profile", tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,score\na.png,11\n", "line 2: score = 11 of a.png is outside the scale 1 to 5"),
        ("image,score\na.png,nan\n", "line 2: score = 'nan' of a.png is not a number"),
        ("image,score\na.png,\n", "line 2: score = '' of a.png is not a number"),
        ("name,score\na.png,1\n", "has no column image"),
    ],
)
def test_wrong_ratings(photos, tmp_path, text, sentence):
    assert sentence in refused(photos, "--ratings", table(tmp_path, text))


def test_a_table_that_is_not_utf8(photos, tmp_path):
    assert "is not UTF-8 text (byte 15): save it as UTF-8" in refused(
        photos, "--ratings", table(tmp_path, "image,score\ncaf\xe9.png,3\n", "latin-1")
    )


def test_a_scale_that_is_none(photos):
    assert "scale 'five' is not LOW-HIGH" in refused(photos, "--scale", "five")


def test_ratings_for_images_that_are_gone(photos, tmp_path):
    path = table(tmp_path, "image,score\na.png,5\ngone.png,1\n")
    code, rows, stderr = rank(photos, "--ratings", path)
    assert code == 1 and len(rows) == 4 and rows[0]["image"] == str(photos / "a.png")
    assert one_sentence(stderr).startswith("1 of 2 ratings are left out, as their images are gone or cannot be read (gone.png)")
    # all of them gone: the ranking of everybody, and it is said
    code, rows, stderr = rank(photos, "--ratings", table(tmp_path, "image,score\nx.png,5\ny.png,1\n"))
    assert code == 1 and len(rows) == 4 and "2 of 2 ratings are left out" in stderr


def test_one_rating_and_constant_ratings(photos, tmp_path):
    code, rows, stderr = rank(photos, "--ratings", table(tmp_path, "image,score\na.png,5\n"))
    assert code == 0 and len(rows) == 4 and one_sentence(stderr).startswith("one rating says little")
    code, rows, stderr = rank(photos, "--ratings", table(tmp_path, "image,score\na.png,4\nb.png,4\nc.png,4\n"))
    assert code == 0 and len(rows) == 4 and one_sentence(stderr).startswith("all 3 ratings are 4")


def test_two_raters_with_the_same_name(photos, tmp_path):
    assert beholder("raters", "add", "Anna").exit_code == 0
    again = beholder("raters", "add", " ANNA")
    assert again.exit_code == 2 and "already a rater 'Anna'" in one_sentence(again.stderr)
    path = table(tmp_path, "rater,image,score\nBo,a.png,5\nbo,a.png,1\n")
    assert "two raters of the same name ('Bo', 'bo'" in refused(photos, "--ratings", path, "--rater", "BO")


def test_a_rater_nobody_knows(photos):
    assert "there is no rater 'Zoe'" in refused(photos, "--rater", "Zoe")


def test_odd_paths(tmp_path):
    folder = tmp_path / "my photos 📷 <x> [red]"
    paths = make_photos(folder, "a b.png", "🌲.png", "%s {0}.png", "-x.png")
    odd = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    try:
        with open(odd, "wb") as file:
            file.write(image_files.encoded(image_files.picture(seed=9), "PNG"))
        paths.append(os.fsdecode(odd))
    except OSError:
        pass  # a file system that takes UTF-8 only
    out, page = tmp_path / "out 🌲.csv", tmp_path / "page.html"
    code, rows, _ = rank(folder, "--out", out, "--contact-sheet", page)
    assert code == 0 and {row["image"] for row in rows} == set(paths)
    assert os.fsencode(paths[-1]) in out.read_bytes() and page.read_bytes().count(b"data:image") == len(paths)
    done = process("rank", str(folder), *STUB, env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 + len(paths)
    ratings = table(tmp_path, 'image,score\n"🌲.png",5\na b.png,1\n')
    assert rank(folder, "--ratings", ratings)[1][0]["image"].endswith("🌲.png")


def test_a_cache_that_cannot_be_written(photos, tmp_path, monkeypatch):
    expected = rank(photos)[1]
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("BEHOLDER_CACHE", str(blocked / "cache"))
    code, rows, stderr = rank(photos)
    assert code == 0 and rows == expected
    assert "features cannot be kept in" in one_sentence(stderr) and "BEHOLDER_CACHE" in stderr


def test_a_full_disk(photos, tmp_path):
    """No file may grow: neither the cache nor the ranking can be written. The rows come all the same, or a refusal."""

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    expected = rank(photos)[1]
    new = {"BEHOLDER_CACHE": str(tmp_path / "new-cache")}
    done = process("rank", str(photos), *STUB, "--json", env=new, preexec_fn=full)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    assert "features cannot be kept in" in one_sentence(done.stderr)

    out = tmp_path / "ranking.csv"
    out.write_text("old")
    done = process("rank", str(photos), *STUB, "--out", str(out), preexec_fn=full)
    assert done.returncode == 2 and f"beholder: {out} cannot be written" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert out.read_text() == "old" and not [name for name in os.listdir(tmp_path) if "partial" in name]

    done = process("raters", "add", "Anna", preexec_fn=full)
    assert done.returncode == 2 and "file of raters" in one_sentence(done.stderr)


def test_an_output_folder_that_is_not_there(photos, tmp_path):
    code, _, stderr = rank(photos, "--out", tmp_path / "no" / "such" / "ranking.csv")
    assert code == 2 and "cannot be written" in one_sentence(stderr)
    code, _, stderr = rank(photos, "--contact-sheet", tmp_path / "no" / "page.html")
    assert code == 2 and "cannot be written" in stderr


def test_weights_that_are_none(photos, tmp_path):
    result = beholder("rank", photos, "--scorer", "taste", "--weights", tmp_path)
    assert result.exit_code == 2 and "holds no taste weights" in one_sentence(result.stderr)
