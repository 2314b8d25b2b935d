"""A scorer with everything it needs to look at photographs: give it paths and a rater, it finds, encodes, scores and sorts."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from beholder.engine.local import Progress
from beholder.errors import BeholderError
from beholder.folders import Found, Skipped, find_photos, nothing_found
from beholder.located import SkippedInput, find_files, locate
from beholder.prediction import Prediction, best_first
from beholder.rater import Rater

if TYPE_CHECKING:
    from beholder.about import About
    from beholder.datasets.base import Dataset
    from beholder.engine.source import Features, JointFeatures
    from beholder.scorers.base import Scorer

FIT_CHUNK = 1024  # images
LARGE = 256 << 20  # bytes of features: more are not held in memory at once, but read from the store by the scorer

Paths = str | os.PathLike | Iterable[str | os.PathLike]


@dataclass(frozen=True)
class _Ready:
    """Photographs that are encoded, and the rater with paths that can be read.

    Args:
        photos: readable ones, each content once, in order.
        places: path -> its place among everything that was found.
        duplicates: photo -> other photos of the same content.
        skipped: what was found but cannot be used.
        about: photo, or file that was rated, -> what is known of it beside its pixels.
    """

    photos: list[str]
    places: dict[str, int]
    duplicates: dict[str, tuple[str, ...]]
    skipped: list[Skipped]
    rater: Rater
    about: dict[str, About] = field(default_factory=dict)


class Eye:
    """What `beholder.load` gives.

    Ratings and choices may name images by absolute path, relative to the working directory or to one of the folders given,
    or by a file name that occurs once below them. Rated images outside the given paths count as evidence all the same. Those that
    are gone are left out with a `SkippedInput` warning.

    Args:
        scorer: predicts.
        features: of the scorer; they know the encoder and the store.
    """

    def __init__(self, scorer: Scorer, *, features: Features | JointFeatures) -> None:
        self.scorer, self.features = scorer, features

    def __enter__(self) -> Eye:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Eye({self.scorer.name} {self.scorer.version}, {self.features.key})"

    def close(self) -> None:
        """Let go of the feature store."""
        self.features.store.close()

    def rank(
        self,
        paths: Paths,
        *,
        rater: Rater | None = None,
        top: int | None = None,
        look_in: Sequence[str | os.PathLike] = (),
        about: Mapping[str, About] | None = None,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """Photographs for one rater, best first; those that cannot be used come last, each with its reason.

        Args:
            paths: files and folders.
            rater: whose eye it is; nothing is known of the rater if not given.
            top: only so many of the best (percentiles still count all).
            look_in: more folders in which the rater's images may lie.
            about: image, named as ratings may name it, -> its prompt and metadata (`beholder.about.read_about`); scorers that read nothing
                but pixels ignore it.
            progress: called with (photographs encoded, of how many).

        Raises:
            BeholderError: nothing that can be read, or a path that does not exist.
        """
        scored = best_first(self.score(paths, rater=rater, look_in=look_in, about=about, progress=progress))
        if top is None:
            return scored
        if top < 1:
            raise BeholderError(f"top = {top} leaves nothing to show: give 1 or more")
        good = [p for p in scored if p.score is not None]
        return good[:top] + scored[len(good) :]

    def score(
        self,
        paths: Paths,
        *,
        rater: Rater | None = None,
        look_in: Sequence[str | os.PathLike] = (),
        about: Mapping[str, About] | None = None,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """As `rank`, in the order in which the photographs were given or found."""
        ready = self._prepare(paths, rater=rater, look_in=look_in, about=about, progress=progress)
        if ready.about:
            self.scorer.tell(ready.about)
        predictions = [
            replace(p, duplicates=ready.duplicates[p.image]) if p.image in ready.duplicates else p
            for p in self.scorer.predict(ready.photos, ready.rater)
        ]
        none = {"score": None, "low": None, "high": None, "percentile": None}
        predictions += [
            Prediction(
                image=one.path,
                **none,
                scale=ready.rater.scale,
                scorer=self.scorer.name,
                version=self.scorer.version,
                skipped_reason=one.reason,
            )
            for one in ready.skipped
        ]
        last = len(ready.places)
        return sorted(predictions, key=lambda p: ready.places.get(p.image, last))

    def explain(self, image: str | os.PathLike, *, rater: Rater | None = None, look_in: Sequence[str | os.PathLike] = ()) -> Any:
        """Why this rater should like an image so much: an `Explanation` with the parts of the score and the ratings that matter most.

        Raises:
            BeholderError: the image cannot be read, or the scorer cannot explain itself.
        """
        self._needs("explain")
        ready = self._prepare([image], rater=rater, look_in=[os.path.dirname(os.fsdecode(image)) or ".", *look_in])
        return self.scorer.explain(ready.photos[0], ready.rater)

    def suggest(
        self,
        paths: Paths,
        *,
        rater: Rater | None = None,
        n: int = 10,
        look_in: Sequence[str | os.PathLike] = (),
        progress: Progress | None = None,
    ) -> list[str]:
        """The photographs that would teach most about this rater if they were rated next, the most telling first; at most n.

        Raises:
            BeholderError: as for `rank`, all are rated already, or the scorer cannot suggest.
        """
        self._needs("suggest")
        if n < 1:
            raise BeholderError(f"n = {n} leaves nothing to suggest: give 1 or more")
        ready = self._prepare(paths, rater=rater, look_in=look_in, progress=progress)
        rated = set(ready.rater.ratings.images)
        unrated = [photo for photo in ready.photos if photo not in rated]
        if not unrated:
            raise BeholderError(f"all {len(ready.photos)} photographs are rated already: give more of them")
        return list(self.scorer.suggest(unrated, ready.rater, n=min(n, len(unrated))))

    def fit(
        self,
        dataset: Dataset,
        *,
        others: Sequence[Dataset] = (),
        progress: Progress | None = None,
        steps: Callable[[int, int, str], None] | None = None,
        checkpoints: str | os.PathLike | None = None,
    ) -> Eye:
        """Train the scorer on the ratings of other raters. Returns self.

        Args:
            others: further datasets to learn from together with this one, each on its own scale; for scorers that can.
            progress: of looking at the photographs.
            steps: of the learning itself: steps done, in all, and what is done now.
            checkpoints: folder for what an interrupted training goes on from, for scorers that train long enough to need one.

        Raises:
            BeholderError: an image cannot be read, there is too little to learn from, or there are others and the scorer learns from one only.
        """
        options: dict[str, Any] = {"progress": steps} if steps else {}
        if others:
            check_takes_others(self.scorer)
            options["others"] = tuple(others)
        images = list(dict.fromkeys(str(one.images[image]) for one in (dataset, *others) for image in one.used_images))
        for start in range(0, len(images), FIT_CHUNK):  # the matrix of all may be larger than the memory
            some = partial(_shifted, progress, start, len(images)) if progress else None
            self.features(images[start : start + FIT_CHUNK], progress=some)
        if checkpoints is not None and "checkpoints" in inspect.signature(self.scorer.fit).parameters:
            options["checkpoints"] = checkpoints
        self.scorer = self.scorer.fit(dataset, **options)
        return self

    def save_pretrained(self, folder: str | os.PathLike):
        """Write what was learned into a folder that `beholder.load(weights=...)` takes."""
        return self.scorer.save_pretrained(folder)

    def _needs(self, method: str) -> None:
        if not callable(getattr(self.scorer, method, None)):
            able = "taste or linear-hidden-reduce" if method == "explain" else "taste"
            raise BeholderError(f"the scorer {self.scorer.name} cannot {method}: use {able}, which can")

    def _prepare(
        self,
        paths: Paths,
        *,
        rater: Rater | None,
        look_in: Sequence[str | os.PathLike],
        about: Mapping[str, About] | None = None,
        progress: Progress | None = None,
    ) -> _Ready:
        """Find, encode and remember the photographs, and those that the rater rated."""
        paths = [os.fsdecode(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
        found = find_photos(paths)
        if not found.photos:
            raise BeholderError(nothing_found(paths, found=found))
        folders = [path if os.path.isdir(path) else os.path.dirname(path) or "." for path in paths]
        folders = [*dict.fromkeys(folders), *look_in]
        located = locate(rater or Rater(), photos=found.photos, folders=folders)
        wanted = list(dict.fromkeys([*found.photos, *located.files]))
        collect = 4 * self.features.dim * len(wanted) <= LARGE
        indexed = self.features.index(wanted, progress=progress, collect=collect)
        if collect:
            self.features.keep(indexed.images, indexed.features)

        first_of: dict[str, str] = {}  # the photographs come before other rated files, so the first of equal ones is a photograph
        for path in indexed.images:
            for same in (path, *indexed.duplicates.get(path, ())):
                first_of.setdefault(same, path)
        located = located.narrowed(first_of)
        for complaint in located.complaints():
            warnings.warn(complaint, SkippedInput, stacklevel=4)

        photos = [photo for photo in found.photos if first_of.get(photo) == photo]
        given = set(found.photos)
        skipped = found.skipped + [one for one in indexed.skipped if one.path in given]
        if not photos:
            raise BeholderError(nothing_found(paths, found=Found(skipped=skipped)))
        equal = {photo: tuple(same for same in indexed.duplicates.get(photo, ()) if same in given) for photo in photos}
        return _Ready(
            photos=photos,
            places={path: place for place, path in enumerate(found.photos)},
            duplicates={photo: same for photo, same in equal.items() if same},
            skipped=skipped,
            rater=located.rater,
            about=_placed(about, first_of=first_of, files=find_files(about, photos=found.photos, folders=folders)) if about else {},
        )


def check_takes_others(*scorers: Scorer | type[Scorer]) -> None:
    """Refuse further training data if none of these scorers can learn from several datasets together."""
    if not any(map(takes_others, scorers)):
        names = ", ".join(scorer.name for scorer in scorers)
        raise BeholderError(
            f"{names} cannot learn from several datasets together: leave the others out (--with), or take pamela, which can"
        )


def takes_others(scorer: Scorer | type[Scorer]) -> bool:
    """Whether a scorer can learn from several datasets together."""
    return "others" in inspect.signature(scorer.fit).parameters


def _placed(about: Mapping[str, About], *, first_of: Mapping[str, str], files: Mapping[str, str]) -> dict[str, About]:
    """What is known of images, under the paths that the scorer will see. Of files of the same content the one it is given counts first.

    Args:
        about: image as named -> what is known.
        first_of: path -> the path of that content that the scorer is given.
        files: image as named -> the file it means.
    """
    real = {os.path.realpath(path): path for path in first_of}
    paths = {name: path for name, file in files.items() if (path := file if file in first_of else real.get(os.path.realpath(file)))}
    told: dict[str, About] = {}
    for name in sorted(paths, key=lambda name: first_of[paths[name]] != paths[name]):
        told.setdefault(first_of[paths[name]], about[name])
    if not told:
        names = ", ".join(list(about)[:3])
        complaint = f"none of the {len(about)} images with a prompt or metadata ({names}) is among the photographs: correct the paths there"
        warnings.warn(complaint, SkippedInput, stacklevel=5)
    return told


def _shifted(progress: Progress, start: int, total: int, done: int, _: int) -> None:
    """Progress of a part, as progress of the whole."""
    progress(start + done, total)
