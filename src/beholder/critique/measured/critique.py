"""The critique that needs no model that sees: every sentence rests on a measurement, which is shown with it. Ours."""

from __future__ import annotations

import os
from collections.abc import Sequence

from beholder.critique.base import MEASURED, SECTIONS, Critique, Section
from beholder.critique.measured import wording
from beholder.critique.measured.statistics import VERSION, measure_and_locate
from beholder.critique.measured.suggestion import suggestion
from beholder.errors import BeholderError
from beholder.rater import Rater

NO_VLM = (
    "no vision-language model is loaded: this is measured, not seen; name one with --model (a URL of a server, or a model on this computer) for a "
    "critique in words of its own"
)
KNOWN = "this photograph is one of those that the probes were trained on, so that what they say of it is too good"


def critique(image: str | os.PathLike, *, rater: Rater | None = None, look_in: Sequence[str | os.PathLike] = (), projection: str | os.PathLike | None = None) -> Critique:
    """Measure an image and say what was measured.

    Args:
        rater: for the personal part.
        look_in: more folders in which the images that the rater rated may lie.
        projection: folder that `beholder probe` wrote: its attributes are added to the sections they belong to.

    Raises:
        UnreadableImage: the image cannot be read.
        BeholderError: the projection or the rater's data cannot be used.
    """
    values, where = measure_and_locate(image)
    seen, notes, version = _probed(image)
    found = wording.Findings(values, where, seen)
    texts = {
        "overall": wording.overall(seen),
        "composition": wording.composition(found),
        "colour": wording.colour(found),
        "light": wording.light(found),
        "focus": wording.focus(found),
        "subject": wording.subject(found),
        "feeling": wording.feeling(found),
        "suggestion": suggestion(found),
    }
    proof = {name: wording.evidence(found, name) for name in SECTIONS}
    if seen is not None:
        proof["overall"] = wording.probe_evidence(seen)
    if projection is not None:
        from beholder.critique.measured.projected import projected

        for name, more in projected(image, projection).items():
            proof[name] = (*proof[name], *more)
    personal = None
    if rater is not None:
        from beholder.critique.measured.personal import view

        personal = view(image, rater=rater, look_in=look_in)
    return Critique(
        image=os.fspath(image),
        sections={name: Section(name, texts[name], proof[name]) for name in SECTIONS},
        by=MEASURED,
        version=f"{VERSION}{version}",
        notes=(NO_VLM, *notes),
        personal=personal,
    )


def _probed(image: str | os.PathLike):
    """(what the probes say or None, notes, their version)."""
    from beholder.critique.measured import probes

    known = probes.Probes.load()
    try:
        seen = probes.look([image], probes=known)[0]
    except BeholderError as error:
        if not _is_missing(error):
            raise
        return None, (f"the probes are left out: {error}",), ""
    return seen, ((KNOWN,) if known.knows(image) else ()), f"+{known.version}"


def _is_missing(error: BeholderError) -> bool:
    """Whether the encoder, or what runs it, is not installed; measuring works all the same."""
    from beholder.errors import MissingExtra, UnreadableImage

    return isinstance(error, MissingExtra) or (not isinstance(error, UnreadableImage) and "pip install" in str(error))
