"""Finding photographs: every one once, in a fixed order, and a reason for what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import image_files
from beholder.errors import BeholderError
from beholder.folders import Found, Paired, find_photos, nothing_found

JPEG = image_files.encoded(image_files.picture(8, 8), "JPEG")


def place(folder: Path, *names: str, data: bytes = JPEG) -> list[str]:
    """Write a file under each name below the folder; the paths as text."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in names]


def test_folder_is_listed_by_name_files_before_folders(tmp_path):
    expected = place(tmp_path, "B.JPG", "a.jpeg", "c.PnG", "sub/a.webp", "sub/deep/x.TIFF", "sub2/y.heic", "z/w.Cr3")
    assert find_photos(tmp_path) == Found(photos=expected)
    assert find_photos([str(tmp_path)]).photos == expected


def test_given_order_and_spelling_are_kept(tmp_path, monkeypatch):
    place(tmp_path, "a.jpg", "b/c.jpg", "b/d.jpg")
    monkeypatch.chdir(tmp_path)
    assert find_photos(["b/d.jpg", "b", "a.jpg", "b/c.jpg", "./a.jpg", "."]).photos == ["b/d.jpg", os.path.join("b", "c.jpg"), "a.jpg"]


def test_other_files_and_system_folders_are_passed_over(tmp_path):
    place(
        tmp_path,
        "notes.txt",
        "a.jpg.xmp",
        "a.xmp",
        "film.mp4",
        "list.csv",
        ".hidden.jpg",
        ".cache/b.jpg",
        "@eaDir/a.jpg/SYNOPHOTO.jpg",
        "#recycle/c.jpg",
    )
    place(tmp_path, "README", data=b"no image\n" * 9)
    place(tmp_path, "empty_without_suffix", data=b"")
    expected = place(tmp_path, "a.jpg", "image_without_suffix")
    assert find_photos(tmp_path) == Found(photos=expected)


def test_hidden_things_count_when_they_are_named(tmp_path):
    file, inside = place(tmp_path, ".hidden.jpg", ".cache/b.jpg")
    assert find_photos([file, tmp_path / ".cache"]).photos == [file, inside]


def test_image_suffix_is_always_a_candidate(tmp_path):
    expected = place(tmp_path, "text.jpg", data=b"words\n" * 20) + place(tmp_path, "zero.jpg", data=b"")
    assert find_photos(tmp_path).photos == expected


def test_named_file_counts_by_content_or_is_skipped_with_a_reason(tmp_path):
    (image,) = place(tmp_path, "download.bin")
    text, empty = *place(tmp_path, "notes.txt", data=b"words\n" * 20), *place(tmp_path, "empty.txt", data=b"")
    found = find_photos([image, text, empty])
    assert found.photos == [image]
    assert [skipped.path for skipped in found.skipped] == [text, empty]
    assert "is text" in found.skipped[0].reason and "empty" in found.skipped[1].reason


def test_pictures_of_unsupported_kinds_are_named(tmp_path):
    (layers,) = place(tmp_path, "layers.psd", data=b"8BPS\0\x01" + bytes(50))
    (really_jpeg,) = place(tmp_path, "really_jpeg.jxl")
    found = find_photos(tmp_path)
    assert found.photos == [really_jpeg]
    assert [skipped.path for skipped in found.skipped] == [layers] and "Photoshop" in found.skipped[0].reason


def test_raw_beside_jpeg_is_one_photo(tmp_path):
    jpeg, raw, heic, raw2, both, both2, raw3, alone = place(
        tmp_path, "1.JPG", "1.CR3", "2.heic", "2.dng", "3.heic", "3.jpg", "3.nef", "4.arw"
    )  # fmt: skip
    place(tmp_path, "other/4.jpg")
    found = find_photos(tmp_path)
    assert found.photos == [jpeg, heic, both, both2, alone, str(tmp_path / "other/4.jpg")]
    assert found.paired == [Paired(raw, jpeg), Paired(raw2, heic), Paired(raw3, both2)]
    assert not found.skipped
    assert find_photos([raw]).photos == [raw]
    assert find_photos([raw, jpeg]).photos == [jpeg]


def test_links(tmp_path):
    place(tmp_path, "real/a.jpg", "real/sub/b.jpg")
    top = tmp_path / "top"
    top.mkdir()
    (top / "again").symlink_to(tmp_path / "real")
    (top / "one.jpg").symlink_to(tmp_path / "real/a.jpg")
    (top / "two.jpg").symlink_to(tmp_path / "real/a.jpg")
    (tmp_path / "real/sub/loop").symlink_to(top)
    (tmp_path / "real/sub/self").symlink_to(tmp_path / "real/sub")
    found = find_photos(top)
    assert found.photos == [str(top / "one.jpg"), str(top / "again/sub/b.jpg")]
    assert not found.skipped


def test_broken_links_and_pipes_are_skipped_with_a_reason(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "knot.jpg").symlink_to(tmp_path / "knot.jpg")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    found = find_photos(tmp_path)
    assert not found.photos
    assert [Path(skipped.path).name for skipped in found.skipped] == ["gone.jpg", "knot.jpg", "pipe.jpg"]
    assert "link" in found.skipped[0].reason and "pipe" in found.skipped[2].reason


def test_folder_named_like_an_image_is_a_folder(tmp_path):
    expected = place(tmp_path, "x.jpg/inside.jpg")
    assert find_photos(tmp_path).photos == expected


def test_folder_that_may_not_be_listed_is_skipped(tmp_path, monkeypatch):
    expected = place(tmp_path, "a.jpg", "open/b.jpg")
    place(tmp_path, "closed/c.jpg")
    real = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_photos(tmp_path)
    assert found.photos == expected
    assert [skipped.path for skipped in found.skipped] == [str(tmp_path / "closed")]
    assert "Permission denied" in found.skipped[0].reason
    assert "Permission denied" in nothing_found(tmp_path / "closed", found=find_photos(tmp_path / "closed"))


@pytest.mark.parametrize("name", ["with blank.jpg", "smile \N{GRINNING FACE}.jpg", os.fsdecode(b"caf\xe9.jpg"), "new\nline.jpg"])
def test_odd_names(tmp_path, name):
    try:
        expected = place(tmp_path, name)
    except OSError:
        pytest.skip("this file system does not take such a name")
    assert find_photos(tmp_path).photos == find_photos(expected).photos == expected


def test_missing_path_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    place(tmp_path, "a.jpg")
    for path, words in {
        tmp_path / "none": "does not exist: check the spelling",
        "": "does not exist",
        tmp_path / "gone": "link",
        tmp_path / "*.png": "matches no file",
        tmp_path / "a.jpg" / "b": "does not exist",
        "zero\0byte": "cannot be used",
        "long" * 2000: "cannot be used",
    }.items():
        with pytest.raises(BeholderError, match=words):
            find_photos([tmp_path, path])


def test_nothing_found(tmp_path):
    assert find_photos(tmp_path) == find_photos([]) == Found()
    sentence = nothing_found([tmp_path], found=find_photos(tmp_path))
    assert str(tmp_path) in sentence and "JPEG" in sentence
    (text,) = place(tmp_path, "notes.txt", data=b"words\n" * 20)
    assert "is text" in nothing_found([text], found=find_photos(text))
    assert nothing_found([], found=Found())


def test_deep_folders_are_no_problem(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
        folder.mkdir()
    place(folder, "a.jpg")
    assert len(find_photos(tmp_path).photos) == 1
