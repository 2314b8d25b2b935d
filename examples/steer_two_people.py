"""Two made-up people with opposite tastes, one prompt: what steering makes of it for each. No model is downloaded, nothing is sent.

    python examples/steer_two_people.py --out two-people

Nora likes dark, calm, cold scenes, Leo bright, warm, lively ones. Both rate the same 60 drawn scenes; from these ratings the default scorer steers the prompt for each. OUT gets the
scenes, ratings.csv of both, a run's folder for each with report.html, and comparison.png. Ctrl-C and the same command: it goes on. Both people are made up, so this shows how it works and measures nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import beholder
from beholder.ratings import Rating
from beholder.steering.generators.scenes import SceneGenerator, attributes, scene_of
from beholder.steering.loop import SteerConfig, SteerResult, steer
from beholder.steering.phrases import PhraseWriter
from beholder.steering.report import write_report
from beholder.steering.rewards import ScorerJudge
from beholder.steering.run_folder import RunFolder
from beholder.steering.settings import settings_of

PEOPLE = {  # what each likes (+) and dislikes (-)
    "nora": {"brightness": -5.0, "warmth": -8.0, "complexity": -2.0, "subjects": -1.0},
    "leo": {"brightness": 5.0, "warmth": 8.0, "complexity": 2.0, "subjects": 1.0},
}
RATED = 60
SUBJECTS = ("a view", "a quiet place", "somewhere far away", "a walk outside")


def rated_scenes(folder: Path) -> list[tuple[Path, dict[str, float]]]:
    """Drawn scenes and what is known of them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(RATED):
        prompt = PhraseWriter().propose(SUBJECTS[number % len(SUBJECTS)], n=1, history=(), seed=number, max_words=77).prompts[0]
        path = folder / f"scene-{number:02d}.png"
        if not path.exists():
            SceneGenerator().generate(prompt, seed=number).save(path)
        found.append((path, attributes(scene_of(prompt, number))))
    return found


def ratings_of(likes: dict[str, float], scenes: list[tuple[Path, dict[str, float]]]) -> beholder.Ratings:
    """1 to 5, from what a person likes."""
    known = np.array([[about[name] for name in likes] for _, about in scenes])
    liking = (known - known.mean(axis=0)) @ np.array(list(likes.values()))
    scores = np.clip(np.rint(3 + 1.2 * liking / liking.std()), 1, 5)
    return beholder.Ratings([Rating(str(path), float(score)) for (path, _), score in zip(scenes, scores, strict=True)])


def run(name: str, ratings: beholder.Ratings, *, goal: str, config: SteerConfig, folder: Path) -> SteerResult:
    """Steer for one person; the other scorer looks on."""
    parts = {"writer": PhraseWriter(), "generator": SceneGenerator(), "config": config}
    people = {name: beholder.Rater(name=name, ratings=ratings)}
    def progress(done: int, total: int, what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: {done}/{total} {what:30}", end="\r", file=sys.stderr, flush=True)

    with beholder.load("taste") as eye, beholder.load("pamela") as other:
        parts |= {"judge": ScorerJudge(eye, raters=people), "hold_out": ScorerJudge(other, raters=people)}
        with RunFolder(folder, settings=settings_of(goal, **parts)) as opened:
            result = steer(goal, **parts, run=opened, progress=progress)
            print(f"{name}: {result.start.reward:.3f} -> {result.best.reward:.3f}  {result.best.prompt}\n{' ' * len(name)}  {write_report(opened)}")
    return result


def comparison(pictures: list[tuple[str, Path]], out: Path) -> None:
    """The pictures side by side, each under its caption."""
    images = [Image.open(path).convert("RGB") for _, path in pictures]
    width, height = images[0].size
    sheet = Image.new("RGB", (len(images) * (width + 8) - 8, height + 24), "white")
    for place, ((caption, _), image) in enumerate(zip(pictures, images, strict=True)):
        sheet.paste(image, (place * (width + 8), 24))
        ImageDraw.Draw(sheet).text((place * (width + 8) + 4, 4), caption, fill="black", font_size=14)
    sheet.save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("two-people"))
    parser.add_argument("--prompt", default="a house by the sea")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--per-iteration", type=int, default=12)
    given = parser.parse_args()
    scenes = rated_scenes(given.out / "scenes")
    config = SteerConfig(iterations=given.iterations, per_iteration=given.per_iteration, seed=3)
    pictures = []
    for name, likes in PEOPLE.items():
        ratings = ratings_of(likes, scenes)
        ratings.to_csv(given.out / f"{name}.csv")
        result = run(name, ratings, goal=given.prompt, config=config, folder=given.out / name)
        pictures = pictures or [("as asked for", result.start.images[0])]
        pictures.append((f"for {name}", result.best.images[0]))
    comparison(pictures, given.out / "comparison.png")
    print(f"side by side: {given.out / 'comparison.png'}\nare they really liked more?  beholder study plan {' '.join(str(given.out / name) for name in PEOPLE)} --out study")


if __name__ == "__main__":
    main()
