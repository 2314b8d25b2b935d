"""Readers of PARA, LAPIS, EVA and FLICKR-AES: made-up directories in the published layouts, every bad input, and what `check` finds."""

import base64
import csv
import re
import shutil
import sys
import zipfile
import zlib
from xml.sax.saxutils import escape

import numpy as np
import pytest

from beholder import datasets
from beholder.errors import BeholderError
from beholder.profile import Profile
from beholder.scale import Scale
from published_layouts import make_eva, make_flickr_aes, make_lapis, make_para

MAKERS = {"para": make_para, "lapis": make_lapis, "eva": make_eva, "flickr-aes": make_flickr_aes}
PARA_IMAGES, PARA_USERS = "annotation/PARA-Images.csv", "annotation/PARA-UserInfo.csv"
LAPIS_A, LAPIS_B = "annotation/LAPIS_PIAA.csv", "annotation/LAPIS_individualratings_metaANDdemodata.csv"
VOTES, USERS = "data/votes_filtered.csv", "data/users.csv"
FLICKR = "FLICKR-AES_image_labeled_by_each_worker.csv"
# A PARA-UserInfo.xls with the raters A010000 and B011eef, written by a spreadsheet library.
XLS = (
    'c-rk)O-NKx6h8OO|LBY}Iw~57NLiVJV-U8`X$+H~%!DW+uyN)(PLA&l&rz~XmbnaqRz(}ZO&hCCKU7e=7J*Sv5CmGwRzX1vbvpOFH&>ku6iO=IH{A2?cka3O'
    'e((Og`{uox3(im9t6qQtw1W+na~^Q6@-a-FJP81n=W-&Ozq&EyEc{dOxN#z#4tVT)=@N4&=6eAYxNCoo7T_bMGmwF9P35&)hz`;aV?sk4S_Ze!<A*9zRZ2Ea'
    'wv6l@ihM%$0C}#GZNu1kb{gg)-3_hgDn6yuQJEh^yAP<&d-8;#9A1c3eDNAHVjU3GQ?c~lSx{pyh8e(l>*6ZcW9fMa;RMdWw_Gj2*ZfX>R%`jU*3SU_-`DzG'
    '>-euLc7O@Uouvgnh12}jE=qjR6YY&QofzTzVRb-Tga%fL?n+~SjtY0e1`tbfq)DzOxQ@HHGcg*EWmB3OOCRB5Jnh2>J==Lc!}Szb<GdUoGpJ>?q#nx*j<5JJ'
    '4znYoUMf4@)LFoz1-!d}A1mMoaXm(x!_5c>K+C?Smi?%5fDgyg+z)VWR847mUtCM4d6MIC64!<^Jj>NA9v}TYnNo2nV-p?C;V|a|*hILssU?i#A{y}G?W?IV'
    '><+uaX1TbFEP6A#Hjs+r{RjfaQ!TLOspg~IUW_&YC6o`+o)6%;wRro>>!bZWkv{TF&`D;TcRR!sK@Kj78d%v+B{s4}m>Q_Y9<rCI)oqloCL6+?ir4y{ax-&i'
    'l47n<X+8F{m+&UCb5(v9=BGX%e^@j1DY6^$vt0`pLbLB8(@=-!ZvyL!-y}4$Mt1Xtz@te1%FJiu2eMT^Jty5tz|@{I5A_mQ0xxBQWDO=phe@WGV`VTKGMi*}'
    'WOm6M$Q+V6kvS!EA#+LQM&_2xgUlnD7n#>o%hplLNNtfB&q!^tWJ0Y^GNINlnNV9InNTan<0))M<}@RNIEKPjkgX<LL#l)xWgR^V#RScEjkQ%Onb1=vna~rG'
    'Oz0_>%whH_^eCjKo?3R2^^&cV+Pu)Nl)`<{Ii7hd@PY*k7A#n>V8Oz#!RYPIc%!w``<wB$>@vUWEMZ!<K9l^n=miabS^Q(#2`XN77~j<TsQ?Gdx5YMCC;z=r'
    ';3W30!w~e7j-gGjU;MYjR^QKtD+Yew7TRq8%bU^phx`8lJG(Go'
)


def found(root, name):
    return "\n".join(map(str, datasets.check(name, root)))


def rows_of(data):
    return {
        (data.raters[rater], data.image_ids[image]): score
        for rater, image, score in zip(data.rating_rater, data.rating_image, data.rating_score, strict=True)
    }


def table(path, *, delimiter=","):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, skipinitialspace=True))


def edit(path, change, *, delimiter=","):
    """Rewrite a table; `change` gets the list of its rows as dicts and changes it."""
    rows = table(path, delimiter=delimiter)
    change(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def put(column, value, *, row=0):
    """An `edit` change: one cell."""

    def change(rows):
        rows[row][column] = value

    return change


def without(path, column, *, delimiter=","):
    def drop(rows):
        for row in rows:
            del row[column]

    edit(path, drop, delimiter=delimiter)


# What is read


def test_para(tmp_path):
    data = datasets.read("para", make_para(tmp_path, n_raters=6, n_images=12, per_rater=9))
    ratings, people = table(tmp_path / PARA_IMAGES), {row["userId"]: row for row in table(tmp_path / PARA_USERS)}
    assert rows_of(data) == {(row["userId"], row["imageName"]): float(row["aestheticScore"]) for row in ratings}
    assert (data.name, data.scale, data.notes) == ("para", Scale(1, 5, 0.5), ())
    assert data.groups == data.image_ids
    sessions = {row["imageName"]: row["sessionId"] for row in ratings}
    assert [path.relative_to(tmp_path).as_posix() for path in data.images] == [f"imgs/{sessions[name]}/{name}" for name in data.image_ids]
    person = people[data.raters[0]]
    assert data.profiles[0] == Profile(
        age=person["age"],
        gender=person["gender"],
        education=person["EducationalLevel"].replace("_", " "),
        art_experience=person["artExperience"],
        photography_experience=person["photographyExperience"],
        openness=int(person["personality-O"]),
        conscientiousness=int(person["personality-C"]),
        extraversion=int(person["personality-E"]),
        agreeableness=int(person["personality-A"]),
        neuroticism=int(person["personality-N"]),
    )
    columns = {
        "composition": "compositionScore",
        "color": "colorScore",
        "dof": "dofScore",
        "content": "contentScore",
        "light": "lightScore",
        "content_preference": "contentPreference",
        "willingness_to_share": "willingnessToShare",
    }
    assert set(data.attributes) == set(data.attribute_scales) == set(columns)
    for name, column in columns.items():
        assert data.attributes[name].tolist() == [float(row[column]) for row in ratings]
        assert data.attribute_scales[name] == Scale(1, 5, 1)


def test_attributes_follow_their_rows(tmp_path):
    data = datasets.read("para", make_para(tmp_path, n_raters=4, n_images=5))
    part = data.rows([3, 1])
    assert part.attributes["color"].tolist() == data.attributes["color"][[3, 1]].tolist()
    assert part.attribute_scales == data.attribute_scales
    mask = data.rating_score > 3
    assert len(data.rows(mask).attributes["light"]) == mask.sum() == len(data.rows(mask).rating_score)


def test_of_two_ratings_the_latest_counts_with_its_attributes(tmp_path):
    def twice(rows):
        rows.append(rows[0] | {"aestheticScore": "4.5", "colorScore": "1", "lightScore": ""})
        rows[0]["colorScore"] = "5"

    root = make_para(tmp_path, n_raters=3, n_images=4)
    edit(root / PARA_IMAGES, twice)
    data = datasets.read("para", root)
    last = table(root / PARA_IMAGES)[-1]
    assert len(data.rating_score) == 12
    assert rows_of(data)[last["userId"], last["imageName"]] == 4.5
    assert data.attributes["color"][-1] == 1 and np.isnan(data.attributes["light"][-1])
    assert data.notes == ("1 ratings were replaced by a later one of the same rater and image",)
    assert "line 2: the same rater rates the same image again further down" in found(root, "para")


@pytest.mark.parametrize("layout", ["a", "b"])
def test_lapis(tmp_path, layout):
    data = datasets.read("lapis", make_lapis(tmp_path, layout=layout, n_raters=8, n_images=6))
    ratings = table(tmp_path / (LAPIS_A if layout == "a" else LAPIS_B))
    score = "rating" if layout == "a" else "response"
    assert rows_of(data) == {(row["participant_id"], row["image_filename"].rpartition("/")[2]): float(row[score]) for row in ratings}
    assert (data.scale, data.notes, data.attributes) == (Scale(0, 100, 1), (), {})
    assert all(path.is_file() for path in data.images)
    for rater, profile in zip(data.raters, data.profiles, strict=True):
        person = next(row for row in ratings if row["participant_id"] == rater)
        if layout == "a":
            interest = float(person["Art Interest VAIAK"])
        else:
            interest = np.mean([int(person[f"VAIAK{i}"]) for i in range(1, 8)] + [int(person[f"2VAIAK{i}"]) for i in range(1, 5)])
        assert profile.art_interest == pytest.approx(1 + 1.5 * interest, abs=0.01)
        assert profile.age == int(person["age"])
        assert profile.gender == (person["demo_gender"] if "other" not in person["demo_gender"] else None)
        assert (profile.education, profile.nationality) == (person["demo_edu"], person["nationality"].title())
        assert profile.free == {"colour_blindness": person["demo_colorblind"]}


def test_both_lapis_layouts_give_the_same_dataset(tmp_path):
    first = datasets.read("lapis", make_lapis(tmp_path / "a", layout="a", n_raters=5, n_images=7, seed=4))
    second = datasets.read("lapis", make_lapis(tmp_path / "b", layout="b", n_raters=5, n_images=7, seed=4))
    assert rows_of(first) == rows_of(second)
    assert first.profiles == second.profiles
    assert first.image_ids == second.image_ids


def test_lapis_styles_and_genres_are_metadata(tmp_path):
    first = datasets.read("lapis", make_lapis(tmp_path / "a", layout="a", n_raters=3, n_images=7, seed=4))
    second = datasets.read("lapis", make_lapis(tmp_path / "b", layout="b", n_raters=3, n_images=7, seed=4))
    styles = {row["image_filename"].rpartition("/")[2]: row["style"].replace("_", " ") for row in table(tmp_path / "b" / LAPIS_B)}
    assert dict(zip(second.image_ids, second.metadata["style"], strict=True)) == styles
    assert first.metadata == {"style": second.metadata["style"]} and set(second.metadata) == {"style", "genre"}
    for part in ("Train", "Val", "Test"):
        (tmp_path / "a" / "annotation" / f"LAPIS_GIAA_{part}split.csv").unlink()
    again = datasets.read("lapis", tmp_path / "a")
    assert (again.metadata, again.about(), again.notes) == ({}, {}, ())


def test_para_scenes_are_metadata(tmp_path):
    root = make_para(tmp_path, n_raters=3, n_images=12)
    data = datasets.read("para", root)
    scenes = {row["imageName"]: row["semantic"].replace("_", " ") for row in table(root / PARA_IMAGES)}
    assert dict(zip(data.image_ids, data.metadata["category"], strict=True)) == scenes
    assert data.about()[str(data.images[3])].metadata == {"category": scenes[data.image_ids[3]]}
    edit(root / PARA_IMAGES, lambda rows: [row.pop("semantic") for row in rows])
    assert datasets.read("para", root).metadata == {}


def test_lapis_of_those_who_skipped_the_questionnaire(tmp_path):
    root = make_lapis(tmp_path, n_raters=3, n_images=3)
    who = table(root / LAPIS_A)[0]["participant_id"]

    def skip(rows):
        for row in rows:
            if row["participant_id"] == who:
                row.update(dict.fromkeys(("age", "nationality", "demo_gender", "demo_edu", "demo_colorblind", "Art Interest VAIAK"), ""))

    edit(root / LAPIS_A, skip)
    data = datasets.read("lapis", root)
    assert [rater for rater, profile in zip(data.raters, data.profiles, strict=True) if not profile] == [who]
    assert data.notes == (f"1 raters have no profile ({who})",)


def test_lapis_art_interest_off_its_scale_is_left_empty(tmp_path):
    root = make_lapis(tmp_path, n_raters=2, n_images=2)
    edit(root / LAPIS_A, lambda rows: [row.update({"Art Interest VAIAK": "7.5"}) for row in rows])
    data = datasets.read("lapis", root)
    assert [profile.art_interest for profile in data.profiles] == [None, None] and data.profiles[0].age
    assert re.search(r"art_interest of 2 raters is left empty .*7\.5 \(VAIAK goes from 0 to 6\)", data.notes[0])


def test_lapis_ids_images_and_encoding_as_they_come(tmp_path):
    root = make_lapis(tmp_path, layout="b", n_raters=2, n_images=3)
    name = table(root / LAPIS_B)[0]["image_filename"]
    (root / "images" / "Pop_Art").mkdir()
    (root / "images" / name.rpartition("/")[2]).rename(root / "images" / "Pop_Art" / "Miró.jpg")

    def change(rows):
        for row in rows:
            row["participant_id"] += ".0"
            row["image_filename"] = row["image_filename"].replace(name, "C:\\art\\Pop_Art\\Miró.jpg")

    edit(root / LAPIS_B, change)
    (root / LAPIS_B).write_bytes((root / LAPIS_B).read_text(encoding="utf-8").encode("latin-1"))
    data = datasets.read("lapis", root)
    assert data.raters == ("10", "3")
    assert "Miró.jpg" in data.image_ids and root / "images" / "Pop_Art" / "Miró.jpg" in data.images
    assert data.notes == ()


def test_eva(tmp_path):
    root = make_eva(tmp_path, n_raters=6, n_images=5)
    edit(root / USERS, put("photographic_level_id", "3.0"), delimiter="=")
    edit(root / USERS, lambda rows: rows[0].update(region="384.0", age="1984.0", gender_id="2.0", eyecheck="1,2"), delimiter="=")
    edit(root / USERS, lambda rows: rows[1].update(photographic_level_id="", age="", gender_id="", eyecheck="", region="4"), delimiter="=")
    data = datasets.read("eva", root)
    votes = table(root / VOTES, delimiter="=")
    assert rows_of(data) == {(row["user_id"], row["image_id"]): float(row["score"]) for row in votes}
    assert data.attributes["content"].tolist() == [float(row["semantic"]) for row in votes]
    assert data.attributes["composition"].tolist() == [float(row["composition"]) for row in votes]
    assert data.attribute_scales == {"composition": Scale(1, 4, 1), "content": Scale(1, 4, 1)}
    by_rater = dict(zip(data.raters, data.profiles, strict=True))
    assert by_rater["E136"] == Profile(
        age=36, gender="female", nationality="Côte d'Ivoire", photography_experience="expert", free={"colour_blindness": "Yes"}
    )
    assert by_rater["E138"] == Profile()
    assert (data.scale, data.notes) == (Scale(0, 10, 1), ())


def test_eva_with_all_votes_and_images_elsewhere(tmp_path):
    root = make_eva(tmp_path, n_raters=4, n_images=5)
    before = datasets.read("eva", root)
    (root / VOTES).unlink()
    (root / "data" / "region_index.csv").unlink()
    shutil.move(root / "images" / "EVA_together", root / "images" / "EVA_category" / "1")
    text = (root / USERS).read_text().replace("=region=", "=country=")
    (root / USERS).write_text(text)
    after = datasets.read("eva", root)
    assert rows_of(after) == rows_of(before)
    assert "data/votes_filtered.csv is not there" in after.notes[0]
    assert after.profiles[0].nationality is None and after.profiles[0].age == before.profiles[0].age


def test_flickr_aes_has_blanks_before_names_and_values(tmp_path):
    root = make_flickr_aes(tmp_path, n_raters=4, n_images=5)
    assert (root / FLICKR).read_text().startswith("worker, imagePair, score\n")
    data = datasets.read("flickr-aes", root)
    assert rows_of(data) == {(row["worker"], row["imagePair"]): float(row["score"]) for row in table(root / FLICKR)}
    assert data.profiles == (Profile(),) * 4
    assert data.scale == Scale(1, 5, 1) and data.notes == ()


@pytest.mark.parametrize("name", MAKERS)
def test_the_folder_above_will_do(tmp_path, name):
    inner = MAKERS[name](tmp_path / "outer" / "inner", n_raters=3, n_images=4)
    (tmp_path / "outer" / "other").mkdir()
    assert rows_of(datasets.read(name, tmp_path / "outer")) == rows_of(datasets.read(name, inner))
    assert "error" not in found(tmp_path / "outer", name)


@pytest.mark.parametrize("name", MAKERS)
def test_captions_that_somebody_adds(tmp_path, name):
    root = MAKERS[name](tmp_path, n_raters=3, n_images=4)
    assert datasets.read(name, root).captions == ()
    ids = datasets.read(name, root).image_ids
    (root / "captions.csv").write_text(f'image,caption\n{ids[2]},"Two cats,\n  asleep."\nnot there,x\n')
    assert datasets.read(name, root).captions == ("", "", "Two cats, asleep.", "")


def test_para_images_in_one_flat_folder(tmp_path):
    root = make_para(tmp_path, n_raters=3, n_images=4)
    for path in (root / "imgs" / "session1").iterdir():
        path.rename(root / "imgs" / path.name)
    data = datasets.read("para", root)
    assert data.notes == () and {path.parent for path in data.images} == {root / "imgs"}


def test_one_para_image_in_two_sessions(tmp_path):
    root = make_para(tmp_path, n_raters=3, n_images=4)
    edit(root / PARA_IMAGES, put("sessionId", "session9"))
    data = datasets.read("para", root)
    assert len(data.image_ids) == 4 and len(data.rating_score) == 12
    assert re.search(r"1 image names occur in several sessions \(iaa_pub\d_\.jpg\)", data.notes[0])


# Spreadsheets


def write_xlsx(path, rows):
    """The least workbook there can be, with numbers as numbers."""

    def cell(value):
        try:
            return f"<c><v>{float(value)}</v></c>"
        except ValueError:
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'

    body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    kinds, office = "http://schemas.openxmlformats.org/package/2006", "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet_type = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{kinds}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{sheet_type}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{sheet_type}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{kinds}/relationships">'
        f'<Relationship Id="rId1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{kinds}/relationships">'
        f'<Relationship Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


def saved_as_xlsx(path):
    with path.open(newline="") as file:
        write_xlsx(path.with_suffix(".xlsx"), list(csv.reader(file)))
    path.unlink()


def test_para_saved_as_xlsx(tmp_path):
    pytest.importorskip("python_calamine")
    root = make_para(tmp_path, n_raters=4, n_images=5)
    before = datasets.read("para", root)
    for name in (PARA_IMAGES, PARA_USERS):
        saved_as_xlsx(root / name)
    after = datasets.read("para", root)
    assert rows_of(after) == rows_of(before) and after.profiles == before.profiles
    assert after.attributes["color"].tolist() == before.attributes["color"].tolist()
    assert "error" not in found(root, "para")


def test_para_saved_as_xls(tmp_path):
    pytest.importorskip("python_calamine")
    root = make_para(tmp_path, n_raters=2, n_images=3)
    (root / PARA_USERS).unlink()
    (root / PARA_USERS).with_suffix(".xls").write_bytes(zlib.decompress(base64.b85decode("".join(XLS))))
    assert datasets.read("para", root).profiles[1] == Profile(
        age="18-21",
        gender="male",
        education="university",
        art_experience="expert",
        photography_experience="proficient",
        extraversion=9,
        agreeableness=1,
        neuroticism=2,
        openness=8,
        conscientiousness=5,
    )


def test_what_is_wrong_with_a_spreadsheet(tmp_path, monkeypatch):
    root = make_para(tmp_path, n_raters=2, n_images=2)
    saved_as_xlsx(root / PARA_USERS)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "python_calamine", None)
        with pytest.raises(BeholderError, match=r"PARA-UserInfo.xlsx is a spreadsheet.*pip install python-calamine"):
            datasets.read("para", root)
        assert "pip install python-calamine" in found(root, "para")
    pytest.importorskip("python_calamine")
    write_xlsx(root / "annotation" / "PARA-UserInfo.xlsx", [["userId", "age", "age"]])
    with pytest.raises(BeholderError, match="a column name occurs twice"):
        datasets.read("para", root)
    (root / "annotation" / "PARA-UserInfo.xlsx").write_text("no workbook")
    with pytest.raises(BeholderError, match=r"PARA-UserInfo.xlsx cannot be read as a spreadsheet"):
        datasets.read("para", root)


# What is missing or wrong


MISSING = {
    "para ratings": ("para", PARA_IMAGES, r"has no annotation/PARA-Images\.csv, which holds the ratings of PARA; PARA: get it from https"),
    "para profiles": ("para", PARA_USERS, r"has no annotation/PARA-UserInfo\.csv"),
    "para images": ("para", "imgs", "has no folder imgs/"),
    "lapis ratings": ("lapis", LAPIS_A, r"has no annotation/LAPIS_PIAA.csv \(or annotation/LAPIS_individualratings_metaANDdemodata.csv\)"),
    "lapis images": ("lapis", "images", r"has no folder images/.*ask for it at"),
    "eva votes": ("eva", "data", r"has no data/votes_filtered.csv \(or data/votes.csv\)"),
    "eva users": ("eva", USERS, r"has no data/users.csv"),
    "eva images": ("eva", "images", r"has no folder images/.*join the seven parts"),
    "flickr ratings": ("flickr-aes", FLICKR, "has no FLICKR-AES_image_labeled_by_each_worker.csv"),
    "flickr images": ("flickr-aes", "40K", "has no folder 40K/"),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_files(tmp_path, case):
    name, path, message = MISSING[case]
    root = MAKERS[name](tmp_path, n_raters=3, n_images=4)
    (root / path).rename(tmp_path.parent / f"{tmp_path.name} moved")
    with pytest.raises(BeholderError, match=message) as caught:
        datasets.read(name, root)
    assert "\n" not in str(caught.value)
    assert re.search(f"error: .*{message}", found(root, name))


COLUMNS = [
    *[("para", PARA_IMAGES, name) for name in ("sessionId", "imageName", "userId", "aestheticScore", "dofScore", "willingnessToShare")],
    *[("para", PARA_USERS, name) for name in ("userId", "age", "EducationalLevel", "personality-N")],
    *[("lapis", LAPIS_A, name) for name in ("participant_id", "image_filename", "rating", "demo_edu", "Art Interest VAIAK")],
    *[("eva", VOTES, name) for name in ("image_id", "user_id", "score", "semantic")],
    *[("eva", USERS, name) for name in ("id", "region", "gender_id")],
    *[("flickr-aes", FLICKR, name) for name in ("worker", "imagePair", "score")],
]


@pytest.mark.parametrize(("name", "path", "column"), COLUMNS)
def test_missing_columns(tmp_path, name, path, column):
    root = MAKERS[name](tmp_path, n_raters=3, n_images=4)
    without(root / path, column, delimiter="=" if name == "eva" else ",")
    with pytest.raises(BeholderError, match=rf"{re.escape(path)} has no column {column}( or .*)?: it has"):
        datasets.read(name, root)
    assert f"has no column {column}" in found(root, name)


def test_check_names_everything_that_is_missing_at_once(tmp_path):
    root = make_para(tmp_path, n_raters=3, n_images=4)
    (root / PARA_USERS).unlink()
    (root / "annotation" / "PARA-GiaaTest.csv").unlink()
    shutil.rmtree(root / "imgs")
    without(root / PARA_IMAGES, "colorScore")
    without(root / PARA_IMAGES, "lightScore")
    text = found(root, "para")
    assert [text.count(name) for name in ("column colorScore", "column lightScore", "PARA-UserInfo.csv", "folder imgs/")] == [1, 1, 1, 1]
    assert "info: " in text and "PARA-GiaaTest.csv" in text
    with pytest.raises(BeholderError, match=r"colorScore.*\(3 more: beholder data check para --root DIR\)"):
        datasets.read("para", root)
    assert "is not a folder: give the folder that holds PARA" in found(root / "nowhere", "para")


SCORES = {
    "para": (PARA_IMAGES, "aestheticScore", "5.5", ","),
    "lapis": (LAPIS_A, "rating", "101", ","),
    "eva": (VOTES, "score", "-1", "="),
    "flickr-aes": (FLICKR, "score", "6", ","),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_off_the_scale(tmp_path, name):
    path, column, off, delimiter = SCORES[name]
    root = MAKERS[name](tmp_path, n_raters=3, n_images=4)
    edit(root / path, put(column, off, row=2), delimiter=delimiter)
    edit(root / path, put(column, "good", row=4), delimiter=delimiter)
    with pytest.raises(BeholderError, match=rf"line 4: score '{off}' is not on the scale .* \(and 1 more lines\)"):
        datasets.read(name, root)
    findings = datasets.check(name, root)
    assert {finding.lines for finding in findings if finding.level == "error"} == {(4,), (6,)}
    text = found(root, name)
    assert "line 4: score is outside the scale" in text and "line 6: score is not a number" in text


@pytest.mark.parametrize("name", SCORES)
def test_rows_without_a_score_are_dropped(tmp_path, name):
    path, column, _, delimiter = SCORES[name]
    root = MAKERS[name](tmp_path, n_raters=3, n_images=4)
    edit(root / path, put(column, "NA", row=3), delimiter=delimiter)
    data = datasets.read(name, root)
    assert len(data.rating_score) == 11
    assert data.notes == ("1 rows without rater, image or score are dropped (line 5 first)",)
    assert "warning" in found(root, name) and "line 5: rater, image or score is empty" in found(root, name)


@pytest.mark.parametrize("name", MAKERS)
def test_images_that_are_not_there(tmp_path, name):
    root = MAKERS[name](tmp_path, n_raters=3, n_images=5)
    before = datasets.read(name, root)
    before.images[1].unlink()
    data = datasets.read(name, root)
    assert data.image_ids == (before.image_ids[0], *before.image_ids[2:])
    assert rows_of(data) == {pair: score for pair, score in rows_of(before).items() if pair[1] != before.image_ids[1]}
    assert data.notes == (f"1 images are not there ({before.image_ids[1]}): 3 ratings dropped",)
    assert f"warning: 1 of 5 images are not in {tmp_path}" in found(root, name)
    for path in data.images:
        path.unlink()
    with pytest.raises(BeholderError, match=r"none of the images that .* names is in"):
        datasets.read(name, root)
    assert "error: 5 of 5 images are not in" in found(root, name)


def test_check_of_a_whole_dataset(tmp_path):
    for name, make in MAKERS.items():
        findings = datasets.check(name, make(tmp_path / name, n_raters=4, n_images=13))
        assert [finding for finding in findings if finding.level != "info"] == [], name
        assert "4 raters, 13 rated images in 13 groups, 52 ratings" in str(findings), name
    assert "FLICKR-AES tells nothing of its raters" in str(findings)


def test_check_finds_what_is_odd(tmp_path):
    root = make_para(tmp_path, n_raters=4, n_images=13)
    users, ratings = table(root / PARA_USERS), table(root / PARA_IMAGES)
    edit(root / PARA_USERS, put("userId", "Zzzzzzz"))
    edit(root / PARA_USERS, put("age", "young", row=1))
    edit(root / PARA_IMAGES, put("aestheticScore", "3.3", row=1))
    edit(root / PARA_IMAGES, put("colorScore", "9", row=5))
    (root / "imgs" / ratings[0]["sessionId"] / ratings[0]["imageName"]).write_text("not an image")
    shutil.copy(root / PARA_USERS, root / "imgs" / "more.jpg")
    text = found(root, "para")
    assert f"warning: 1 raters have no profile ({users[0]['userId']})" in text
    assert "info: 1 raters with a profile have no rating (Zzzzzzz)" in text
    assert "warning: age of 1 raters is left empty" in text
    assert "warning: PARA-Images.csv line 3: score lies between the steps of the scale 1-5/0.5" in text
    assert "warning: 1 values of color are outside 1-5 and left out (line 7 first)" in text
    assert f"warning: 1 files cannot be opened as images ({ratings[0]['sessionId']}/{ratings[0]['imageName']})" in text
    assert "info: 1 images in" in text and "(more.jpg)" in text
    data = datasets.read("para", root)
    assert np.isnan(data.attributes["color"]).sum() == 1
    assert not data.profiles[data.raters.index(users[0]["userId"])]


def test_made_up_datasets_follow_their_seed(tmp_path):
    for make in MAKERS.values():
        first, again, other = (make(tmp_path / make.__name__ / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))

        def content(root):
            return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

        assert content(first) == content(again)
        assert content(first) != content(other)
