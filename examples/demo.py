"""Rank sample photographs for two made-up people: python examples/demo.py

Copies the photographs that scikit-image and scikit-learn ship to demo/photos, ranks them for Mara and for Jonas (from nothing but
their profile, then with eight ratings each), prints both rankings side by side and writes demo/contact-sheet.html. The first run
encodes the photographs, later runs find everything in the cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import time
from pathlib import Path

import beholder
from beholder.contact_sheet import Column, write_contact_sheet

HERE = Path(__file__).resolve().parent
PEOPLE = ("mara", "jonas")
# package, file in it -> name of the copy
SAMPLES = {
    ("skimage", "data/astronaut.png"): "astronaut.png",
    ("skimage", "data/brick.png"): "bricks.png",
    ("skimage", "data/camera.png"): "cameraman.png",
    ("skimage", "data/chelsea.png"): "chelsea.png",
    ("skimage", "data/coffee.png"): "coffee.png",
    ("skimage", "data/coins.png"): "coins.png",
    ("skimage", "data/grass.png"): "grass.png",
    ("skimage", "data/gravel.png"): "gravel.png",
    ("skimage", "data/hubble_deep_field.jpg"): "hubble.jpg",
    ("skimage", "data/ihc.png"): "microscope.png",
    ("skimage", "data/moon.png"): "moon.png",
    ("skimage", "data/motorcycle_left.png"): "motorcycle.png",
    ("skimage", "data/rocket.jpg"): "rocket.jpg",
    ("sklearn", "datasets/images/china.jpg"): "china.jpg",
    ("sklearn", "datasets/images/flower.jpg"): "flower.jpg",
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("demo"), help="folder for the photographs and the page (default: demo)")
    options.add_argument("--scorer", default="taste")
    options.add_argument("--weights")
    chosen = options.parse_args()
    started = time.perf_counter()
    try:
        return demo(chosen.out, scorer=chosen.scorer, weights=chosen.weights, started=started)
    except beholder.BeholderError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def demo(out: Path, *, scorer: str, weights: str | None, started: float) -> int:
    photos = out / "photos"
    n_photos = copy_samples(photos)
    columns = []
    with beholder.load(scorer, weights=weights) as eye:
        for person in PEOPLE:
            profile = beholder.Profile.from_toml(HERE / "profiles" / f"{person}.toml")
            ratings = beholder.Ratings.from_csv(HERE / "ratings" / f"{person}.csv")
            me = beholder.Rater(name=person.capitalize(), profile=profile, ratings=ratings)
            before = eye.rank(photos, rater=beholder.Rater(name=me.name, profile=profile))
            after = eye.rank(photos, rater=me)
            columns += [(me, "from the profile alone", before), (me, f"with {len(ratings)} ratings", after)]
    print(f"{n_photos} photographs, two made-up people; * = rated by that person\n")
    print_side_by_side(columns)
    sheet = write_contact_sheet(
        out / "contact-sheet.html",
        [Column(me.name, f"{describe(me.profile)}; {what}", ranking) for me, what, ranking in columns if "ratings" in what],
        title="The same photographs, two people",
        note="Both people and their ratings are made up. Photographs: sample images of scikit-image and scikit-learn.",
    )
    print(f"\nPage with all of them: {sheet}    ({time.perf_counter() - started:.1f} s)")
    return 0


def copy_samples(folder: Path) -> int:
    """Copy the sample photographs out of the installed packages; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    for (package, file), name in SAMPLES.items():
        found = importlib.util.find_spec(package)
        source = Path(found.origin).parent / file if found and found.origin else None
        if source is None or not source.is_file():
            print(f"demo: {package} has no {file}, so it is left out", file=sys.stderr)
        elif not (folder / name).is_file():
            shutil.copyfile(source, folder / name)
    return sum(1 for _ in folder.iterdir())


def print_side_by_side(columns) -> None:
    """One column per ranking: score, 90 % interval, photograph; best first."""
    cells = []
    for me, what, ranking in columns:
        rated = set(me.ratings.images) if "ratings" in what else set()
        lines = [f"{me.name}, {what}"]
        for p in ranking:
            name = Path(p.image).name
            lines.append(
                f"{p.score:4.2f} ({p.low:.1f}-{p.high:.1f}) {name}{' *' if name in rated else ''}" if p.score else f"skipped {name}"
            )
        cells.append(lines)
    for row in zip(*cells, strict=True):
        print("".join(cell.ljust(36) for cell in row).rstrip())


def describe(profile: beholder.Profile) -> str:
    shown = ("age", "nationality", "art_interest", "photography_interest", "openness")
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in profile.known().items() if name in shown)


if __name__ == "__main__":
    sys.exit(main())
