"""Best of several seeds for one rater, giving up unpromising images while they are still noise.

    python examples/steer_while_denoising.py MODEL "a boat on a lake" --seeds 16 --rater mara --out best.png

MODEL is a text-to-image pipeline of diffusers: a local folder or a hub repository. Needs  pip install 'beholder[local,t2i]'.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import beholder
from beholder.features import FeatureStore
from beholder.steering.diffusers_callback import best_with_pruning, scores_of
from beholder.steering.generators import open_generator
from beholder.store import Store


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder or hub repository of a diffusers pipeline")
    parser.add_argument("prompt")
    parser.add_argument("--seeds", type=int, default=8, help="how many seeds are tried")
    parser.add_argument("--steps", type=int, default=30, help="of denoising")
    parser.add_argument("--every", type=int, default=5, help="steps between two previews")
    parser.add_argument("--rater", help="a rater you keep (see  beholder raters)")
    parser.add_argument("--profile", help="a profile in TOML")
    parser.add_argument("--scorer", default="taste")
    parser.add_argument("--out", default="best.png")
    given = parser.parse_args(arguments)

    rater = beholder.Rater()
    if given.rater:
        with Store() as store:
            rater = store.get(given.rater)
    if given.profile:
        rater = beholder.Rater(
            name=rater.name, profile=beholder.Profile.from_toml(given.profile), ratings=rater.ratings, choices=rater.choices
        )
    pipe = open_generator(f"diffusers:{given.model}").load()
    # previews are looked at once: their features need not be kept
    with tempfile.TemporaryDirectory() as folder, beholder.load(given.scorer, store=FeatureStore(folder)) as eye:
        tried = best_with_pruning(
            pipe,
            given.prompt,
            seeds=range(given.seeds),
            score=scores_of(eye, rater=rater),
            every=given.every,
            num_inference_steps=given.steps,
        )
    for one in tried:
        curve = " ".join(f"{preview.score:.3f}" for preview in one.previews)
        end = f"given up after {one.stopped_at} steps" if one.stopped_at else f"finished, {one.score:.3f}"
        print(f"seed {one.seed}: {curve}: {end}")
    done = sum(one.stopped_at or given.steps for one in tried)
    tried[0].image.save(given.out)
    print(
        f"{done} of {given.steps * given.seeds} steps were computed; the best (seed {tried[0].seed}, {tried[0].score:.3f} of 1) is {given.out}"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except beholder.BeholderError as error:
        sys.exit(str(error))
