"""FLICKR-AES (Ren et al., ICCV 2017): 40 thousand photographs, 1 to 5 scores of 210 workers, nothing known about them.

FLICKR-AES_image_labeled_by_each_worker.csv   "worker, imagePair, score", with blanks before names and values
FLICKR-AES_image_score.txt                    " filename score": weighted averages, not read
40K/<file name>                               FLICKR-AES-001/40K/ is taken, too

Reading: an image is a group of its own.
"""

from __future__ import annotations

import os

from beholder.datasets.base import Dataset
from beholder.datasets.published import Layout, Rows, Source, assemble, find_files
from beholder.scale import Scale

LAYOUT = Layout(
    name="flickr-aes",
    title="FLICKR-AES",
    scale=Scale(low=1, high=5, step=1),
    sources={
        "ratings": Source(
            what="ratings of FLICKR-AES",
            paths=("FLICKR-AES_image_labeled_by_each_worker", "FLICKR-AES-001/FLICKR-AES_image_labeled_by_each_worker"),
            columns=(("worker",), ("imagePair",), ("score",)),
        ),
    },
    image_folders=("40K", "FLICKR-AES-001/40K"),
    where="get it from https://github.com/alanspike/personalizedImageAesthetics",
    licence="photographs under the Creative Commons licences of their photographers; annotations for research",
    citation="Ren, Shen, Lin, Mech & Foran (2017), Personalized Image Aesthetics, ICCV",
)


def read_flickr_aes(root: str | os.PathLike) -> Dataset:
    """Read FLICKR-AES.

    Args:
        root: the folder that holds the CSV file and 40K/, or the one above it.

    Raises:
        BeholderError: a file or column is missing, no image is there, or a score is not on 1-5.
    """
    return assemble(open_rows(root))


def open_rows(root: str | os.PathLike) -> Rows:
    """FLICKR-AES as its table gives it."""
    base, tables = LAYOUT.open(root)
    ratings = tables["ratings"]
    images = ratings.column("imagepair")
    return Rows(
        layout=LAYOUT,
        base=base,
        table=ratings,
        score="score",
        raters=ratings.column("worker"),
        images=images,
        paths=find_files(LAYOUT.images(base), {image: [image] for image in dict.fromkeys(images) if image}),
        profiles={},
    )
