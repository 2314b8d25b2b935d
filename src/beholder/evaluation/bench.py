"""The bench: every scorer, every fold, every number of shots, with controls, on one protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.evaluation import controls
from beholder.evaluation.answering import Answered, Cache, answers_of, ask, asked_of, dataset_key, fold_key
from beholder.evaluation.metrics import DRAWS, evaluate
from beholder.evaluation.protocols import Fold, Protocol, get
from beholder.evaluation.report import Report, Row
from beholder.scorers.base import Scorer

SHOTS = (0, 5, 10, 20, 50, 100)
Progress = Callable[[int, int, str], None]


def run(
    dataset: Dataset,
    scorers: Mapping[str, Callable[[], Scorer]],
    *,
    protocol: Protocol | str = "new-rater-new-image",
    shots: Iterable[int] = SHOTS,
    fit: bool = False,
    seeds: Sequence[int] | None = None,
    out: str | os.PathLike | None = None,
    resume: bool = True,
    with_controls: bool = True,
    margin: float = 0.0,
    draws: int = DRAWS,
    progress: Progress | None = None,
) -> Report:
    """Measure scorers on a dataset.

    Args:
        dataset: ratings, images, profiles.
        scorers: name for the table -> a function that makes the scorer. Scorers are used as made, or, with `fit`, made anew and trained
            on the training rows of every fold.
        protocol: or its name.
        shots: numbers N of support ratings (or choices).
        fit: train each scorer on each fold first.
        seeds: repeats, if `protocol` is a name.
        out: folder for what is kept between runs (out/cache); nothing is kept if None.
        resume: use what an earlier run left in out/cache.
        with_controls: add the rater mean, the image mean, shuffled profiles and shuffled images.
        margin: see `metrics.pairwise_accuracy`.
        draws: bootstrap resamples.
        progress: called with (steps done, steps in all, what is being done).

    Raises:
        BeholderError: no scorer, no shots, a protocol that does not fit the dataset, or what a scorer raises.
    """
    if isinstance(protocol, str):
        protocol = get(protocol, seeds=tuple(seeds if seeds is not None else (0,)))
    shots = sorted({int(n) for n in shots})
    if not scorers or not shots or shots[0] < 0:
        raise BeholderError(f"a bench needs at least one scorer and numbers of shots from 0 on; got {list(scorers)} and {shots}")
    folds = protocol.folds(dataset)
    if fit and any(not len(fold.train_rows) for fold in folds):
        raise BeholderError(f"{protocol.line()}: there are no training ratings, so --fit has nothing to learn from; leave it out")
    bench = _Bench(dataset, protocol, folds, shots=shots, fit=fit, out=out, resume=resume, progress=progress)
    bench.n_steps = len(folds) * len(shots) * (len(scorers) + bool(with_controls))
    for name, make in scorers.items():
        bench.add_scorer(name, make, with_controls=with_controls)
    if with_controls:
        bench.add_means()
    return bench.report(names=list(scorers), margin=margin, draws=draws)


class _Bench:
    """Collects the predictions of one run; `report` measures them."""

    def __init__(self, dataset: Dataset, protocol: Protocol, folds: list[Fold], *, shots, fit, out, resume, progress) -> None:
        self.dataset, self.protocol, self.folds, self.shots, self.fit = dataset, protocol, folds, shots, fit
        self.asked = [asked_of(dataset, fold) for fold in folds]
        folder = Path(out) / "cache" if out is not None else None
        self.cache = Cache(folder, resume=resume)
        common = {"beholder": __version__, "dataset": dataset_key(dataset) if out is not None else "", "protocol": protocol.name}
        self.keys = [common | {"fold_name": fold.name, "fold": fold_key(fold)} for fold in folds]
        self.results: list[tuple[Row, list[Answered]]] = []  # the rows' evaluation is filled in by `report`
        self.warnings: list[str] = []
        self.progress = progress or (lambda done, total, what: None)
        self.n_steps, self.n_done = 0, 0

    def step(self, what: str) -> None:
        self.n_done += 1
        self.progress(self.n_done, self.n_steps, what)

    def add_scorer(self, name: str, make: Callable[[], Scorer], *, with_controls: bool) -> None:
        """Predictions of one scorer for every fold and number of shots, and of its two shuffled controls."""
        scorer = make()
        if not self.fit:
            self._warn_if_trained_on_queries(name, scorer)
        common = {"scorer": name, "class": scorer.name, "version": scorer.version, "fit": self.fit}
        plain: dict[int, list[Answered]] = {n: [] for n in self.shots}
        shuffled: dict[int, list[Answered]] = {n: [] for n in self.shots}
        for index, fold in enumerate(self.folds):
            ready = _Lazy(partial(self._fitted, make if self.fit and index else scorer, fold))
            profiles = controls.other_profiles(self.dataset, fold, seed=0) if with_controls and scorer.uses_profile else {}
            done: dict[tuple[int, bool], Answered] = {}
            for n in self.shots:
                known = 0 if not scorer.uses_ratings else n  # the answer does not depend on n then
                for others, into in ((False, plain), (True, shuffled)):
                    if others and not profiles:
                        continue
                    if (known, others) not in done:
                        key = self.keys[index] | common | {"shots": known, "profiles": others}
                        compute = partial(self._ask, ready, index, shots=known, profiles=profiles if others else None)
                        done[known, others] = self.cache.get(key, compute)
                    into[n].append(done[known, others])
                self.step(f"{name}, {fold.name}, {n} shots")
        for n in self.shots:
            self._add(Row(scorer=name, version=scorer.version, shots=n), plain[n])
            if with_controls:
                if len(shuffled[n]) == len(self.folds):
                    label = f"{name}, {controls.SHUFFLED_PROFILES}"
                    self._add(Row(scorer=label, version=scorer.version, shots=n, control_of=name), shuffled[n])
                orders = [controls.image_permutation(asked, seed=index) for index, asked in enumerate(self.asked)]
                permuted = [part.permuted(order) for part, order in zip(plain[n], orders, strict=True)]
                self._add(Row(scorer=f"{name}, {controls.SHUFFLED_IMAGES}", version=scorer.version, shots=n, control_of=name), permuted)

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

    def report(self, *, names: list[str], margin: float, draws: int) -> Report:
        """Measure everything collected."""
        rows, measured = [], {}
        for row, answered in self.results:
            same = tuple(map(id, answered))  # a scorer that does not use ratings answers the same for every N: measure it once
            if same not in measured:
                measured[same] = evaluate(answers_of(self.dataset, self.asked, answered), margin=margin, draws=draws)
            rows.append(row.measured(measured[same]))
        order = {name: i for i, name in enumerate(names)}
        rows.sort(
            key=lambda row: (bool(row.control_of), order.get(row.scorer, order.get(row.control_of, len(order))), row.scorer, row.shots)
        )
        predictions = {(row.scorer, row.shots): answered for row, answered in self.results if not row.control_of}
        return Report(
            dataset=self.dataset,
            protocol=self.protocol.line(),
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
        )

    def _add(self, row: Row, answered: list[Answered]) -> None:
        self.results.append((row, answered))

    def _ask(self, ready: _Lazy, index: int, *, shots: int, profiles) -> Answered:
        return ask(ready(), self.dataset, self.folds[index], self.asked[index], shots=shots, profiles=profiles)

    def _fitted(self, scorer: Scorer | Callable[[], Scorer], fold: Fold) -> Scorer:
        if not isinstance(scorer, Scorer):
            scorer = scorer()
        return scorer.fit(self.dataset.rows(fold.train_rows)) if self.fit else scorer

    def _warn_if_trained_on_queries(self, name: str, scorer: Scorer) -> None:
        """Weights as shipped may have seen the very images they are tested on: say so."""
        trained_on = getattr(scorer, "trained_on", None)
        if trained_on is None:
            return
        images = sorted({int(image) for asked in self.asked for image in asked.image})
        seen = int(trained_on([str(self.dataset.images[image]) for image in images]))
        if seen:
            self.warnings.append(f"{seen} of {len(images)} query images were in the training data of {name}")

    def _notes(self) -> list[str]:
        notes = [*self.dataset.notes, *self.protocol.notes(self.dataset)]
        tests = [(fold, rater) for fold in self.folds for rater in fold.raters]
        for n in self.shots:
            short = sum(fold.n_evidence(rater) < n for fold, rater in tests)
            if short:
                notes.append(f"{n}-shot: {short} of {len(tests)} tests have less support than that; all there is is given")
        return notes


class _Lazy:
    """Calls a function once, when its value is first needed: a fold that is in the cache needs no training."""

    def __init__(self, make: Callable[[], Scorer]) -> None:
        self._make, self._made = make, None

    def __call__(self) -> Scorer:
        if self._made is None:
            self._made = self._make()
        return self._made


def query_images(dataset: Dataset, folds: Sequence[Fold]) -> list[str]:
    """Paths of all images that are to be predicted, each once; useful to encode them beforehand."""
    images = {int(image) for fold in folds for image in asked_of(dataset, fold).image}
    return [str(dataset.images[image]) for image in sorted(images)]
