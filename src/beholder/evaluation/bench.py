"""The bench: every scorer, every fold, every number of shots, with controls, on one protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation import controls
from beholder.evaluation.answering import Answered, Cache, answers_of, ask, asked_of, dataset_key, fold_key
from beholder.evaluation.metrics import DRAWS, evaluate
from beholder.evaluation.protocols import Fold, Protocol, get
from beholder.evaluation.report import Report, Row
from beholder.evaluation.seen_unseen import UNSEEN
from beholder.evaluation.training import Lazy, Progress, Training, also_learned_from, check, takes, trains
from beholder.scorers.base import Scorer

SHOTS = (0, 5, 10, 20, 50, 100)
SHUFFLES = 3
_OWN = "own"
_SHUFFLED = "shuffled-"


def run(
    dataset: Dataset,
    scorers: Mapping[str, Callable[[], Scorer]],
    *,
    protocol: Protocol | str = "new-rater-new-image",
    shots: Iterable[int] | None = None,
    fit: bool | None = None,
    seeds: Sequence[int] | None = None,
    out: str | os.PathLike | None = None,
    resume: bool = True,
    with_controls: bool = True,
    profiles: Sequence[str] = (),
    others: Sequence[Dataset] = (),
    permutations: int | None = None,
    margin: float = 0.0,
    draws: int = DRAWS,
    progress: Progress | None = None,
) -> Report:
    """Measure scorers on a dataset.

    Args:
        dataset: ratings, images, profiles.
        scorers: name for the table -> a function that makes the scorer. Scorers are used as made, or, with `fit`, made anew and trained
            on the training rows of every fold; once for all that would learn the same (see `Training`).
        protocol: or its name.
        shots: numbers N of support ratings (or choices); if None those of the protocol, or `SHOTS`, or only 0 where it gives no support.
        fit: train each scorer on each fold first; see `trains` if None.
        seeds: repeats, if `protocol` is a name.
        out: folder for what is kept between runs: predictions in out/cache, and in out/checkpoints half-finished trainings of scorers whose
            `fit` takes `checkpoints`; nothing is kept if None.
        resume: use what an earlier run left there.
        with_controls: add the rater mean, the image mean, shuffled profiles and shuffled images.
        profiles: variants of the profile ("none", "D", "T", "D+T", see `personas.prompts.reduced`) that scorers are shown besides.
        others: further datasets that scorers whose `fit` takes `others` learn from together with the training rows.
        permutations: of the shuffled profiles, each as much work as the scorer itself; 3 at N = 0 only, where they decide whether profiles
            matter at all, else 1.
        margin: see `metrics.pairwise_accuracy`.
        draws: bootstrap resamples.
        progress: called with (steps done, steps in all, what is being done); in a training, several times with the same steps.

    Raises:
        BeholderError: no scorer, no shots, a protocol that does not fit the dataset, `others` that no scorer learns from, or what a scorer
            raises.
    """
    if isinstance(protocol, str):
        protocol = get(protocol, **({"seeds": tuple(seeds)} if seeds is not None else {}))
    usual = (protocol.shots or SHOTS) if protocol.gives_support else (0,)
    shots = sorted({int(n) for n in (usual if shots is None else shots)})
    if not scorers or not shots or shots[0] < 0:
        raise BeholderError(f"a bench needs at least one scorer and numbers of shots from 0 on; got {list(scorers)} and {shots}")
    if not protocol.gives_support and shots != [0]:
        raise BeholderError(f"the protocol {protocol.name} knows no rating of the tested raters: leave the shots out, or ask for 0 only")
    permutations = (SHUFFLES if shots == [0] else 1) if permutations is None else permutations
    if permutations < 1:
        raise BeholderError(f"permutations = {permutations}: at least 1 is needed; leave the controls out if none is wanted")
    folds = protocol.folds(dataset)
    fit = trains(protocol, folds) if fit is None else fit
    check(protocol, folds, scorers, fit=fit, others=others)
    bench = _Bench(dataset, protocol, folds, shots=shots, fit=fit, others=others, out=out, resume=resume, progress=progress)
    bench.n_steps = len(folds) * len(shots) * (len(scorers) + bool(with_controls))
    for name, make in scorers.items():
        bench.add_scorer(name, make, permutations=permutations if with_controls else 0, variants=tuple(dict.fromkeys(profiles)))
    if with_controls:
        bench.add_means()
    return bench.report(margin=margin, draws=draws)


@dataclass(frozen=True)
class _Result:
    """What one row of the tables is measured on: predictions of every fold, several times over if profiles were permuted so often."""

    row: Row
    answered: list[Answered]
    copies: int = 1


class _Bench:
    """Collects the predictions of one run; `report` measures them."""

    def __init__(self, dataset: Dataset, protocol: Protocol, folds: list[Fold], *, shots, fit, others, out, resume, progress) -> None:
        self.dataset, self.protocol, self.folds, self.shots, self.fit = dataset, protocol, folds, shots, fit
        self.asked = [asked_of(dataset, fold) for fold in folds]
        kept = {name: Path(out) / name if out is not None else None for name in ("cache", "checkpoints")}
        self.cache = Cache(kept["cache"], resume=resume)
        self.training = Training(dataset, fit, others=others, checkpoints=kept["checkpoints"], resume=resume)
        self.others_key = [f"{other.name} {dataset_key(other)}" for other in others]
        common = {"beholder": __version__, "dataset": dataset_key(dataset) if out is not None else "", "protocol": protocol.name}
        self.keys = [common | {"fold_name": fold.name, "fold": fold_key(fold)} for fold in folds]
        self.results: list[_Result] = []  # the rows' evaluation is filled in by `report`
        self.warnings: list[str] = []
        self.remarks: list[str] = []
        self.features: dict[str, str] = {}
        self.progress = progress or (lambda done, total, what: None)
        self.n_steps, self.n_done = 0, 0
        self._warn_if_others_hold_queries(others)

    def step(self, what: str) -> None:
        self.n_done += 1
        self.progress(self.n_done, self.n_steps, what)

    def add_scorer(self, name: str, make: Callable[[], Scorer], *, permutations: int, variants: Sequence[str]) -> None:
        """Predictions of one scorer for every fold and number of shots, with every set of profiles, and shuffled controls."""
        scorer: Scorer | None = self.training.told(make())
        self._warn_if_trained_on_queries(name, scorer)
        if variants and not scorer.uses_profile:
            self.remarks.append(f"{name} does not look at profiles, so reduced ones are not tried")
            variants = ()
        row, uses_ratings = Row(scorer=name, version=scorer.version, shots=0), scorer.uses_ratings
        common = {"scorer": name, "class": scorer.name, "version": scorer.version, "fit": self.fit}
        if self.others_key and takes(scorer, "others"):
            common["others"] = self.others_key
        common["features"] = getattr(getattr(scorer, "features", None), "key", "")  # of another --encoder or --model: other predictions
        if common["features"] and not common["features"].startswith("none@"):
            self.features[name] = common["features"]
        shown = _shown(scorer, permutations=permutations, variants=variants)
        found: dict[tuple[str, int], list[Answered | None]] = {(what, n): [] for what in shown for n in self.shots}
        for index, fold in enumerate(self.folds):
            ready = Lazy(partial(self._fitted, make if scorer is None else scorer, fold, name=name, key=self.keys[index] | common))
            scorer = None if self.fit else scorer  # a trained one is let go with its fold: it may be a large model
            profiles = {what: choose(self.dataset, fold) for what, choose in shown.items()}
            done: dict[tuple[int, str], Answered] = {}
            for n in self.shots:
                known = 0 if not uses_ratings else n  # the answer does not depend on n then
                for what in shown:
                    if profiles[what] is None:  # fewer than two raters with a profile: nothing to exchange
                        found[what, n].append(None)
                        continue
                    same = what if profiles[what] else _OWN  # what changes nobody's profile changes no prediction
                    if (known, same) not in done:
                        key = self.keys[index] | common | {"shots": known, "profiles": same}
                        done[known, same] = self.cache.get(key, partial(self._ask, ready, index, shots=known, profiles=profiles[same]))
                    found[what, n].append(done[known, same])
                self.step(f"{name}, {fold.name}, {n} shots")
            if self.fit and ready.made is not None:
                self._remark(f"{name}, {fold.name}", ready.made)
        if scorer is not None:
            self._remark(name, scorer)
        for n in self.shots:
            self._add_rows(replace(row, shots=n), found, permutations=permutations, variants=variants)

    def _add_rows(self, row: Row, found: dict, *, permutations: int, variants: Sequence[str]) -> None:
        """The rows of one scorer at one number of shots: itself, reduced profiles, shuffled profiles, shuffled images."""
        name, n = row.scorer, row.shots
        plain = found[_OWN, n]
        self._add(row, plain)
        for variant in variants:
            self._add(replace(row, scorer=f"{name}, profile {variant}", control_of=name, profile=variant), found[variant, n])
        if not permutations:
            return
        shuffled = [part for what, n_shots in found if n_shots == n and what.startswith(_SHUFFLED) for part in found[what, n]]
        if shuffled and all(part is not None for part in shuffled):
            row_of_shuffled = replace(row, scorer=f"{name}, {controls.SHUFFLED_PROFILES}", control_of=name)
            self._add(row_of_shuffled, shuffled, copies=permutations)
        orders = [controls.image_permutation(asked, seed=index) for index, asked in enumerate(self.asked)]
        permuted = [part.permuted(order) for part, order in zip(plain, orders, strict=True)]
        self._add(replace(row, scorer=f"{name}, {controls.SHUFFLED_IMAGES}", control_of=name), permuted)

    def add_means(self) -> None:
        """The controls that no scorer is needed for."""
        means = [controls.image_mean(self.dataset, fold, asked) for fold, asked in zip(self.folds, self.asked, strict=True)]
        oracle = any(is_oracle for _, is_oracle in means)
        for n in self.shots:
            constant = []
            for fold, asked in zip(self.folds, self.asked, strict=True):
                constant.append(controls.rater_mean(self.dataset, fold, asked, shots=n))
                self.step(f"controls, {fold.name}, {n} shots")
            self._add(Row(scorer=controls.RATER_MEAN, version="", shots=n, control_of="*"), constant)
            self._add(Row(scorer=controls.IMAGE_MEAN, version="", shots=n, control_of="*", oracle=oracle), [part for part, _ in means])

    def report(self, *, margin: float, draws: int) -> Report:
        """Measure everything collected."""
        rows, measured = [], {}
        for result in self.results:
            same = tuple(map(id, result.answered))  # a scorer that does not use ratings answers the same for every N: measure it once
            if same not in measured:
                folds = self.folds * result.copies
                answers = answers_of(self.dataset, self.asked * result.copies, result.answered, folds=folds)
                found = evaluate(answers, margin=margin, draws=draws, by_repeat=self.protocol.averages_repeats)
                measured[same] = replace(
                    found, n_answers=found.n_answers // result.copies, n_dropped=found.n_dropped // result.copies
                )  # permutations of profiles are the same ratings again
            rows.append(result.row.measured(measured[same]))
        order = {name: i for i, name in enumerate(dict.fromkeys(row.scorer for row in rows))}
        rows.sort(key=lambda row: (bool(row.control_of) and not row.profile, order[row.scorer], row.shots))  # controls last
        predictions = {(result.row.scorer, result.row.shots): result.answered for result in self.results if not result.row.control_of}
        return Report(
            dataset=self.dataset,
            protocol=self.protocol.line(),
            protocol_name=self.protocol.name,
            features=self.features,
            seeds=tuple(self.protocol.seeds),
            fitted=self.fit,
            shots=tuple(self.shots),
            folds=tuple(self.folds),
            rows=tuple(rows),
            asked=tuple(self.asked),
            predictions=predictions,
            margin=margin,
            draws=draws,
            warnings=tuple(self.warnings),
            notes=tuple(self._notes()),
            averages_repeats=self.protocol.averages_repeats,
        )

    def _remark(self, who: str, scorer: Scorer) -> None:
        """Keep what a scorer has to say; the scorer itself, which may be a large model, is let go."""
        self.remarks += [f"{who}: {line.removeprefix(f'{scorer.name}: ')}" for line in scorer.notes()]

    def _add(self, row: Row, answered: list[Answered], *, copies: int = 1) -> None:
        self.results.append(_Result(row, answered, copies))

    def _ask(self, ready: Lazy, index: int, *, shots: int, profiles) -> Answered:
        return ask(ready(), self.dataset, self.folds[index], self.asked[index], shots=shots, profiles=profiles)

    def _fitted(self, scorer: Scorer | Callable[[], Scorer], fold: Fold, *, name: str, key: dict[str, object]) -> Scorer:
        def progress(steps: int, of: int, what: str = "asking the model") -> None:
            self.progress(self.n_done, self.n_steps, f"{name}, {fold.name}: {what} {steps}/{of}")

        made = scorer if isinstance(scorer, Scorer) else self.training.told(scorer())
        return self.training.ready(made, fold, name=name, key=key, progress=progress)

    def _warn_if_trained_on_queries(self, name: str, scorer: Scorer) -> None:
        """Weights as shipped, and models that features are read from, may have seen the very images they are tested on: say so."""
        learned = [(model.name, model.trained_on) for model in scorer.frozen_models() if hasattr(model, "trained_on")]
        if not self.fit and hasattr(scorer, "trained_on"):
            learned.append((name, scorer.trained_on))
        images = self._query_images()
        for what, trained_on in learned:
            seen = int(trained_on(images))
            if seen:
                of = what if what == name else f"{what}, which {name} reads"
                self.warnings.append(f"{seen} of {len(images)} query images were in the training data of {of}")
        if not self.fit and hasattr(scorer, "trained_for"):
            new = self._new_raters()
            known = int(scorer.trained_for([f"{self.dataset.name}/{rater}" for rater in new]))
            if known:
                self.warnings.append(f"{known} of {len(new)} raters who are new in this protocol were in the training data of {name}")

    def _warn_if_others_hold_queries(self, others: Sequence[Dataset]) -> None:
        """The same photographs in a dataset that is learned from as a whole, perhaps with ratings of the same people."""
        images = self._query_images() if others else []
        for other in others:
            seen = also_learned_from(images, other)
            if seen:
                self.warnings.append(f"{seen} of {len(images)} query images are in {other.name}, too, which is learned from as a whole")

    def _new_raters(self) -> list[str]:
        """Ids of the tested raters of whom training is to know nothing."""
        knows = self.protocol.train_has_test_raters
        new = {rater for fold in self.folds for rater in fold.raters if (fold.labels.get(rater) == UNSEEN if fold.labels else not knows)}
        return [self.dataset.raters[rater] for rater in sorted(new)]

    def _query_images(self) -> list[str]:
        return [str(self.dataset.images[image]) for image in sorted({int(image) for asked in self.asked for image in asked.image})]

    def _notes(self) -> list[str]:
        notes = [*self.dataset.notes, *self.protocol.notes(self.dataset), *self.remarks, *self._lonely_images()]
        tests = [(fold, rater) for fold in self.folds for rater in fold.raters]
        for n in self.shots:
            short = sum(fold.n_evidence(rater, shots=n) < n for fold, rater in tests)
            if short:
                notes.append(f"{n}-shot: {short} of {len(tests)} tests have less support than that; all there is is given")
        return notes

    def _lonely_images(self) -> list[str]:
        """Personal r needs several tested raters per image: say so where many images have but one."""
        n_pairs = n_lonely = 0
        for asked in self.asked:
            _, place, count = np.unique(asked.image[asked.row >= 0], return_inverse=True, return_counts=True)
            n_pairs, n_lonely = n_pairs + len(place), n_lonely + int((count[place] == 1).sum())
        if n_lonely * 2 < n_pairs or not n_pairs:
            return []
        return [f"personal r rests on {n_pairs - n_lonely} of {n_pairs} query pairs: the others are of images that one tested rater saw"]


def _shown(scorer: Scorer, *, permutations: int, variants: Sequence[str]) -> dict[str, Callable]:
    """What to show in place of the profiles: label -> function of (dataset, fold) that gives rater -> profile.

    An empty answer means that nobody's profile changes, None that it cannot be done.
    """
    shown: dict[str, Callable] = {_OWN: lambda dataset, fold: {}}
    if scorer.uses_profile:
        for variant in variants:
            shown[variant] = partial(controls.reduced_profiles, variant=variant)
        for index in range(permutations):
            shown[f"{_SHUFFLED}{index}"] = lambda dataset, fold, index=index: controls.other_profiles(dataset, fold, seed=index) or None
    return shown


def needed_images(dataset: Dataset, folds: Sequence[Fold], *, train: bool) -> list[str]:
    """Paths of all images that scorers will look at, each once: to be encoded beforehand.

    Args:
        train: whether scorers learn from the training rows as well.
    """
    images = {int(image) for fold in folds for image in asked_of(dataset, fold).image}
    for fold in folds:
        rows = [*fold.support.values(), *fold.small_support.values(), *([fold.train_rows] if train else [])]
        pairs = [choices.reshape(-1) for choices in fold.support_choices.values()]
        found = [dataset.rating_image[part] for part in rows] + pairs
        images.update(np.unique(np.concatenate(found)).tolist() if found else ())
    return [str(dataset.images[image]) for image in sorted(images)]
