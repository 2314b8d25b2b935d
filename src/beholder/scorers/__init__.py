"""Scorers by name. Importing this imports no torch; a scorer's room is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beholder.errors import BeholderError
from beholder.scorers.base import FeatureSource, Scorer

if TYPE_CHECKING:
    from beholder.backbones.base import ImageEncoder
    from beholder.eye import Eye
    from beholder.features import FeatureStore

__all__ = ["DEFAULT", "SCORERS", "Scorer", "load", "make", "scorer_class"]

DEFAULT = "taste"
SCORERS = {
    "taste": "beholder.scorers.taste.scorer:TasteScorer",
    "population": "beholder.scorers.baselines.scorer:PopulationScorer",
    "linear-hidden": "beholder.scorers.linear_hidden.scorer:LinearHiddenScorer",
}


def load(
    name: str = DEFAULT,
    *,
    weights: str | os.PathLike | None = None,
    encoder: str = "efficientnet-lite0",
    store: FeatureStore | None = None,
) -> Eye:
    """A scorer that is ready to rank photographs.

    Args:
        name: of a scorer: "taste", "population", "linear-hidden", or "module:Class" for one of your own.
        weights: folder that `save_pretrained` wrote; the weights that come with the package if not given.
        encoder: of the images, see `beholder.backbones.load_encoder`. Trained weights need the encoder they were trained with.
        store: where features are kept; the default folder's if not given.

    Raises:
        BeholderError: there is no such scorer or encoder, or the weights do not suit.
    """
    from beholder.engine.source import Features
    from beholder.eye import Eye

    features = Features(encoder_for([name], encoder=encoder), layers=feature_layers(name, encoder=encoder), store=store)
    return Eye(make(name, features=features, weights=weights), features=features)


def make(name: str, *, features: FeatureSource, weights: str | os.PathLike | None = None, trained: bool = True) -> Scorer:
    """A scorer by name on features.

    Args:
        weights: see `load`.
        trained: False for one that has learned nothing yet, to be given to `fit`.

    Raises:
        BeholderError: see `load`.
    """
    cls = scorer_class(name)
    from_pretrained = getattr(cls, "from_pretrained", None)
    if from_pretrained is None and weights is not None:
        raise BeholderError(f"{cls.name} has no trained weights to load: leave the weights out")
    if from_pretrained is None or not trained:
        return cls(features=features)
    return from_pretrained(os.fspath(weights) if weights is not None else None, features=features)


def feature_layers(name: str, *, encoder: str) -> list[str] | None:
    """The encoder's layers that a scorer wants; None = all, as its wishes name layers of the default encoder only."""
    from beholder.backbones import DEFAULT_ENCODER

    wanted = getattr(scorer_class(name), "feature_layers", None)
    return list(wanted) if wanted and os.fspath(encoder).lower() == DEFAULT_ENCODER else None


def encoder_for(names: Sequence[str], *, encoder: str) -> ImageEncoder:
    """The encoder, made to compute just the layers that these scorers want."""
    from beholder.backbones import load_encoder

    wanted = [feature_layers(name, encoder=encoder) for name in names]
    if any(layers is None for layers in wanted):
        return load_encoder(encoder)
    return load_encoder(encoder, layers=list(dict.fromkeys(layer for layers in wanted for layer in layers)))


def scorer_class(name: str) -> type[Scorer]:
    """The class behind a name.

    Raises:
        BeholderError: there is no such scorer.
    """
    text = str(name).strip()
    target = text if ":" in text else SCORERS.get(text.lower().replace("_", "-"))
    if target is None:
        close = difflib.get_close_matches(text.lower(), SCORERS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise BeholderError(f"there is no scorer {name!r}: {hint}Known are {', '.join(SCORERS)}; your own is written module:Class")
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if text != target or not error.name or not module.startswith(error.name):
            raise  # a dependency of it is missing
        found = None
    except ValueError:  # an empty module name
        found = None
    if not (isinstance(found, type) and issubclass(found, Scorer)):
        raise BeholderError(f"{target} is not a scorer: give module:Class of a class derived from beholder.Scorer that Python can import")
    return found
