"""Does `taste` find out by itself how much to trust the crowd?   python benchmarks/robustness.py [--seeds 0,1,2] [--out DIR]

Two simulated worlds in which the right answer is known:

* nothing shared: every rater has an independent taste, so the crowd says nothing. With 100 ratings `taste` should be as good as
  `linear-hidden`, which learns from this rater alone.
* one taste: all raters share one taste, so own ratings add only severity. Without any rating `taste` should be as good as `population`,
  which knows nothing but the crowd.

Prints each pair with the paired difference and its 95 % interval; exit code 1 if `taste` is worse by more than `MARGIN` in SROCC.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from beholder.evaluation import bench, simulate
from beholder.evaluation.metrics import METRICS
from beholder.scorers.base import FeatureSource, Scorer

MARGIN = 0.02
SHOTS = (0, 10, 100)
SIZES = {"n_raters": 60, "n_images": 240, "n_features": 16, "ratings_per_rater": 160, "noise": 0.12}
ROOMS = {"taste": "taste", "linear-hidden": "linear_hidden", "population": "baselines"}
# world, rival, N at which they are compared
CLAIMS = (("nothing shared", simulate.nothing_shared, "linear-hidden", 100), ("one taste", simulate.one_taste, "population", 0))


def maker(name: str, features: FeatureSource) -> Callable[[], Scorer]:
    """A function that makes the scorer `name` on these features, without weights of its own."""
    module = importlib.import_module(f"beholder.scorers.{ROOMS[name]}.scorer")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Scorer) and getattr(value, "name", "") == name
    ]
    return lambda: found[0](features=features)


def compare(world: simulate.World, rival: str, *, shots: int, out: Path | None) -> list[dict[str, object]]:
    """Run both scorers in one world; returns the paired differences of `taste` minus `rival` at `shots`."""
    simulation = simulate.simulate(world)
    scorers = {name: maker(name, simulation.features) for name in (rival, "taste")}
    report = bench.run(simulation.dataset, scorers, shots=SHOTS, fit=True, seeds=(world.seed,), out=out, with_controls=False)
    if out is not None:
        report.write(out)
    found = [gap for gap in report.differences() if gap["scorer"] == "taste" and gap["minus"] == rival and gap["shots"] == shots]
    for gap in found:
        ours, theirs = (report.estimate(name, shots=shots, metric=gap["metric"]).value for name in ("taste", rival))
        label = METRICS[gap["metric"]][0]
        print(
            f"  {label:20} taste {ours:.3f}  {rival} {theirs:.3f}  difference {gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="simulated worlds, separated by commas")
    parser.add_argument("--out", type=Path, help="folder for the full reports")
    options = parser.parse_args(arguments)
    worst = 0.0
    for title, make_world, rival, shots in CLAIMS:
        for seed in map(int, options.seeds.split(",")):
            print(f"{title}, seed {seed}, {shots} ratings:")
            out = options.out / f"{title.replace(' ', '-')}-{seed}" if options.out else None
            gaps = compare(make_world(**SIZES, seed=seed), rival, shots=shots, out=out)
            worst = min(worst, next(gap["value"] for gap in gaps if gap["metric"] == "srocc"))
    print(f"worst difference in SROCC {worst:+.3f}; allowed {-MARGIN:+.3f}")
    return int(worst < -MARGIN)


if __name__ == "__main__":
    sys.exit(main())
