"""PARA (Yang et al., CVPR 2022): photographs, 9-step scores and attributes of 438 raters with demographics and Big Five.

annotation/PARA-Images.csv    one row for each rater and image: sessionId, imageName, userId, aestheticScore, ..., semantic
annotation/PARA-UserInfo.csv  userId, age, gender, EducationalLevel, artExperience, photographyExperience, personality-E, -A, -N, -O, -C
imgs/session1/iaa_pub1_.jpg   imgs/<sessionId>/<imageName>; a flat imgs/ is taken, too

Readings: personality scores (1 to 9) are taken as they are for the profile's 1 to 10; semantic, the label of the scene, is the metadata
"category"; an image is a group of its own, as sessions are batches of work and the few scene labels are too coarse; qualityScore, emotion,
emphasis and difficulty are not read.
"""

from __future__ import annotations

import os

from beholder.datasets.base import Dataset
from beholder.datasets.published import Layout, Rows, Source, assemble, find_files, plain_ids, profiles_of, text
from beholder.datasets.table import Table, some
from beholder.profile import Profile
from beholder.scale import Scale

ATTRIBUTES = {
    "composition": "compositionScore",
    "color": "colorScore",
    "dof": "dofScore",
    "content": "contentScore",
    "light": "lightScore",
    "content_preference": "contentPreference",
    "willingness_to_share": "willingnessToShare",
}
ATTRIBUTE_SCALE = Scale(low=1, high=5, step=1)
PROFILE = {
    "age": "age",
    "gender": "gender",
    "education": "EducationalLevel",
    "art_experience": "artExperience",
    "photography_experience": "photographyExperience",
    "extraversion": "personality-E",
    "agreeableness": "personality-A",
    "neuroticism": "personality-N",
    "openness": "personality-O",
    "conscientiousness": "personality-C",
}
LAYOUT = Layout(
    name="para",
    title="PARA",
    scale=Scale(low=1, high=5, step=0.5),
    sources={
        "ratings": Source(
            what="ratings of PARA",
            paths=("annotation/PARA-Images",),
            columns=(
                *(("sessionId",), ("imageName",), ("userId",), ("aestheticScore",)),
                *((column,) for column in ATTRIBUTES.values()),
            ),
            optional=("semantic",),
        ),
        "profiles": Source(
            what="profiles of the raters",
            paths=("annotation/PARA-UserInfo",),
            columns=(("userId",), *((name,) for name in PROFILE.values())),
        ),
        "crowd, training": Source(
            what="score distributions of the training images", paths=("annotation/PARA-GiaaTrain", "annotation/ARA-GiaaTrain"), needed=False
        ),
        "crowd, test": Source(
            what="score distributions of the test images", paths=("annotation/PARA-GiaaTest", "annotation/ARA-GiaaTest"), needed=False
        ),
    },
    image_folders=("imgs",),
    where="get it from https://cv-datasets.institutecv.com/#/data-sets or https://web.xidian.edu.cn/ldli/en/dataset.html",
    licence="research and learning only; images and annotations must not be passed on",
    citation="Yang et al. (2022), Personalized Image Aesthetics Assessment with Rich Attributes, CVPR",
)


def read_para(root: str | os.PathLike) -> Dataset:
    """Read PARA.

    Args:
        root: the folder that holds annotation/ and imgs/, or the one above it.

    Raises:
        BeholderError: a file or column is missing, no image is there, or a score is not on 1-5.
    """
    return assemble(open_rows(root))


def open_rows(root: str | os.PathLike) -> Rows:
    """PARA as its tables give it."""
    base, tables = LAYOUT.open(root)
    ratings, notes = tables["ratings"], []
    sessions, images = ratings.column("sessionid"), ratings.column("imagename")
    wanted: dict[str, list[str]] = {}
    for session, image in dict.fromkeys(zip(sessions, images, strict=True)):
        wanted.setdefault(image, []).append(f"{session}/{image}")
    twice = [image for image, paths in wanted.items() if len(paths) > 1]
    if twice:
        notes.append(f"{len(twice)} image names occur in several sessions ({some(twice)}): the first file that is there counts")
    found = find_files(LAYOUT.images(base), {image: [*paths, image] for image, paths in wanted.items() if image})
    rows = Rows(
        layout=LAYOUT,
        base=base,
        table=ratings,
        score="aestheticscore",
        raters=plain_ids(ratings.column("userid")),
        images=images,
        paths=found,
        profiles=_profiles(tables["profiles"], notes=notes),
        notes=notes,
    )
    for name, column in ATTRIBUTES.items():
        rows.add_attribute(name, column.lower(), scale=ATTRIBUTE_SCALE)
    if "semantic" in ratings.columns:
        rows.add_metadata("category", ratings.columns["semantic"])
    return rows


def _profiles(table: Table, *, notes: list[str]) -> dict[str, Profile]:
    cells = {name: table.column(column.lower()) for name, column in PROFILE.items()}
    cells["education"] = [value.replace("_", " ") for value in cells["education"]]
    return profiles_of(
        plain_ids(table.column("userid")),
        range(len(table)),
        values=lambda row: {name: text(values[row]) for name, values in cells.items()},
        notes=notes,
    )
