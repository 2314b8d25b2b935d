"""Scorers by name. Importing this imports no torch; a scorer's room is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beholder.errors import BeholderError
from beholder.options import from_texts, parse_brackets
from beholder.scorers.base import FeatureSource, Scorer

if TYPE_CHECKING:
    from beholder.backbones.base import ImageEncoder
    from beholder.eye import Eye
    from beholder.features import FeatureStore

__all__ = ["DEFAULT", "SCORERS", "Scorer", "load", "make", "parse_name", "scorer_class", "split_names"]

DEFAULT = "taste"
SCORERS = {
    "taste": "beholder.scorers.taste.scorer:TasteScorer",
    "population": "beholder.scorers.baselines.scorer:PopulationScorer",
    "linear-hidden": "beholder.scorers.linear_hidden.scorer:LinearHiddenScorer",
    "linear-hidden-reduce": "beholder.scorers.linear_hidden.reduce:LinearHiddenReduceScorer",
    "raw-text": "beholder.scorers.vlm_text.raw_text:RawTextScorer",
    "adjust-bias": "beholder.scorers.vlm_text.adjust_bias:AdjustBiasScorer",
    "few-shot": "beholder.scorers.vlm_text.few_shot:FewShotScorer",
    "lora": "beholder.scorers.lora.scorer:LoRAScorer",
    "lora-tokencls": "beholder.scorers.lora.scorer:LoRATokenScorer",
    "ici": "beholder.scorers.ici.scorer:ICIScorer",
    "pamela": "beholder.scorers.pamela.scorer:PamelaScorer",
    "single-stage": "beholder.scorers.baselines.single_stage:SingleStageScorer",
    "two-stage": "beholder.scorers.baselines.two_stage:TwoStageScorer",
    "pmllm": "beholder.scorers.pmllm.scorer:PMLLMScorer",
    "pmllm-s": "beholder.scorers.pmllm.scorer:PMLLMSScorer",
    "laion-aesthetic-v1": "beholder.scorers.comparators.laion:LaionAestheticV1",
    "laion-aesthetic-v2": "beholder.scorers.comparators.laion:LaionAestheticV2",
    "siglip-aesthetic": "beholder.scorers.comparators.siglip_aesthetic:SiglipAesthetic",
    "q-align": "beholder.scorers.comparators.q_align:QAlign",
    "pickscore": "beholder.scorers.comparators.preference:PickScore",
    "imagereward": "beholder.scorers.comparators.image_reward:ImageReward",
    "hpsv3": "beholder.scorers.comparators.hpsv3:HPSv3",
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
        name: of a scorer: one of `SCORERS`, or "module:Class" for one of your own. Options stand in brackets: "pmllm[read=integer]".
        weights: folder that `save_pretrained` wrote; the weights that come with the package if not given.
        encoder: of the images, see `beholder.backbones.load_encoder`; several joined by "+" are used together. Trained weights need the encoder they were trained with.
        store: where features are kept; the default folder's if not given.

    Raises:
        BeholderError: there is no such scorer or encoder, or the weights do not suit.
    """
    from beholder.eye import Eye
    from beholder.scorers.feature_sources import sources

    features = sources([name], encoder=encoder, store=store).by_name[name]
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
    options = typed_options(cls, parse_name(name)[1])
    from_pretrained = getattr(cls, "from_pretrained", None)
    if from_pretrained is None and weights is not None:
        raise BeholderError(f"{cls.name} has no trained weights to load: leave the weights out")
    if from_pretrained is None or not trained:
        return cls(features=features, **options)
    return from_pretrained(os.fspath(weights) if weights is not None else None, features=features, **options)


def parse_name(name: str) -> tuple[str, dict[str, str]]:
    """ "pmllm[layers=5,gate=scalar]" -> ("pmllm", {"layers": "5", "gate": "scalar"}).

    Raises:
        BeholderError: the brackets or what is in them cannot be understood.
    """
    return parse_brackets(str(name), of="the scorer")


def split_names(text: str) -> list[str]:
    """A list of scorers as it is written on the command line; a comma inside brackets does not split it."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def typed_options(cls: type[Scorer], given: dict[str, str]) -> dict[str, object]:
    """{"options": cls.Options(...)} with the given texts turned into the types of its fields; {} for a scorer without options.

    Raises:
        BeholderError: there is no such option, or the value is of the wrong kind.
    """
    options = getattr(cls, "Options", None)
    if options is None:
        if given:
            raise BeholderError(f"the scorer {cls.name} has no options, but {', '.join(given)} was given: leave the brackets out")
        return {}
    return {"options": from_texts(options, given, of=f"the scorer {cls.name}")}


def feature_layers(name: str, *, encoder: str) -> list[str] | None:
    """The encoder's layers that a scorer wants; None for a scorer that looks at no image.

    A scorer's own wishes name layers of the default encoder only; with another one it gets the layers that one gives unasked. A scorer
    with `token_scorer = True` reads an image as a row of tokens and gets the layer that holds them; one whose options hold something that was
    learned from certain layers (`exact_layers`) gets these.
    """
    from beholder.backbones import default_layers, is_default, load_encoder, token_layer

    cls = scorer_class(name)
    wanted = getattr(cls, "feature_layers", None)
    if hasattr(cls, "layers_of"):  # its options decide
        wanted = cls.layers_of(typed_options(cls, parse_name(name)[1])["options"])
    if wanted == ():
        return None
    exact = cls.exact_layers(typed_options(cls, parse_name(name)[1])["options"]) if hasattr(cls, "exact_layers") else ()
    if exact and (not is_default(encoder) or set(exact) <= set(load_encoder(encoder).known_layers)):
        return list(exact)
    if getattr(cls, "token_scorer", False):
        return [token_layer(encoder)]
    return list(wanted if wanted and is_default(encoder) else default_layers(encoder))


def encoder_for(names: Sequence[str], *, encoder: str) -> ImageEncoder:
    """The encoder, made to compute just the layers that these scorers want."""
    from beholder.backbones import load_encoder
    from beholder.backbones.no_encoder import NoEncoder

    wanted = [layer for name in names for layer in feature_layers(name, encoder=encoder) or ()]
    return load_encoder(encoder, layers=list(dict.fromkeys(wanted))) if wanted else NoEncoder()


def scorer_class(name: str) -> type[Scorer]:
    """The class behind a name.

    Raises:
        BeholderError: there is no such scorer.
    """
    text = parse_name(name)[0]
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
