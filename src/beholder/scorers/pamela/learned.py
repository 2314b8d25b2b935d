"""What was learned, ready to answer, and how it comes back from a folder of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beholder.about import About
from beholder.backbones.torch_encoder import choose_device
from beholder.profile import Profile
from beholder.scorers.pamela.model import PersonalTransformer, Shape, Side
from beholder.scorers.pamela.text_effects import TextEffects
from beholder.scorers.pamela.texts import Field, Vectors, metadata_text, profile_texts

CHUNK = 4096  # pairs of image and person at once
SIMILAR_COMPONENTS = 20  # principal components of the features that raters are compared by; chosen on training data


@dataclass(frozen=True)
class ImageInputs:
    """Features -> what the image token is made of, and the base; everything on 0..1.

    Args:
        mean: [d] float32 of the features. axes: [d, p] float32 (features less mean) -> principal components, each divided by the square root of
            its standard deviation: between what whitening does and what leaving them alone does.
        coefficients: [d] float32 of the ridge regression; all 0 without a base. spread: standard deviation of the training images' effects.
    """

    mean: np.ndarray
    axes: np.ndarray
    coefficients: np.ndarray
    intercept: float
    spread: float

    @property
    def has_base(self) -> bool:
        return self.spread > 0

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[n, d] -> inputs of the image token [n, p + 1] float32 (the last is the standardised base), effects [n] float64."""
        centred = np.asarray(features, dtype=np.float32) - self.mean
        effects = (centred @ self.coefficients).astype(np.float64) + self.intercept
        return self.with_effects(centred @ self.axes, effects), effects

    def with_effects(self, components: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Components [n, p] and effects [n] -> [n, p + 1] float32; [n, p] without a base."""
        if not self.has_base:
            return components.astype(np.float32)
        return np.column_stack([components, effects / self.spread]).astype(np.float32)


@dataclass
class PamelaModel:
    """What was learned.

    Args:
        network: the transformer, in evaluation mode. inputs: see `ImageInputs`. texts: what prompts and metadata add to the base; None: nothing.
        fields: of the profile. metadata: names of the kinds that are tokens. text_key: of the text encoder.
        centres: [datasets] mean rating of each, on 0..1; the first is the one that new raters are taken to be of.
        names: [raters] uint64 hashes of "DATASET/RATER"; rater_dataset: [raters] int.
        vectors: [kinds of weights, raters, c] rating-weighted features of the training raters (see `neighbours.WEIGHTS`).
        trust: how much counts of what the profile (and what is known of the image) adds to the base for an unseen rater.
        contexts, strengths: numbers of context images, and how much of the personal part counts with so many.
        level: ratings' worth of belief that a new rater uses the scale like the others.
        shots, widths: numbers of ratings, and the half width of the interval there, as a share of the scale.
    """

    network: PersonalTransformer
    inputs: ImageInputs
    fields: tuple[Field, ...]
    metadata: tuple[str, ...]
    text_key: str
    centres: np.ndarray
    names: np.ndarray
    rater_dataset: np.ndarray
    vectors: np.ndarray
    trust: float
    contexts: np.ndarray
    strengths: np.ndarray
    level: float
    shots: np.ndarray
    widths: np.ndarray
    texts: TextEffects | None = None

    @property
    def device(self) -> torch.device:
        return self.network.cls.device

    # --- from what is known to tokens

    def with_texts(
        self, inputs: np.ndarray, effects: np.ndarray, about: Sequence[About | None], vectors: Vectors
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `inputs` makes of features alone -> the same, knowing prompts and metadata, too; unchanged where none is known."""
        if self.texts is None:
            return inputs, effects
        effects = effects + self.texts(*self._words(about, vectors))
        return self.inputs.with_effects(inputs[:, :-1], effects), effects

    def images(self, inputs: np.ndarray, about: Sequence[About | None], vectors: Vectors) -> Side:
        """Tokens of images: their inputs, and what is known of them beside their pixels."""
        parts = (torch.from_numpy(part).to(self.device) for part in (inputs, *self._words(about, vectors)))
        with torch.inference_mode():
            return self.network.images(*parts)

    def _words(self, about: Sequence[About | None], vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
        """([n, kinds, text] float32, [n, kinds] bool: known) of prompts and metadata."""
        shape = self.network.shape
        slots = int(shape.prompts) + shape.metadata
        texts = [text for one in about for text in self._about_texts(one)]
        words = vectors(texts, dim=shape.text).reshape(len(about), slots, shape.text)
        return words, np.array([bool(text) for text in texts], dtype=bool).reshape(len(about), slots)

    def _about_texts(self, about: About | None) -> list[str]:
        about = about or About()
        prompts = [about.prompt] if self.network.shape.prompts else []
        return prompts + [metadata_text(name, about.metadata.get(name, "")) for name in self.metadata]

    def persons(self, profiles: Sequence[Profile], tokens: torch.Tensor, dataset: np.ndarray, vectors: Vectors) -> Side:
        """Tokens of persons. tokens: [n, width] of the rater; dataset: [n] int."""
        found = [profile_texts(profile, self.fields) for profile in profiles]
        texts = [text for one, _ in found for text in one]
        dim = self.network.shape.text
        words = vectors(texts, dim=dim).reshape(len(found), len(self.fields), dim)
        known = np.array([bool(text) for text in texts], dtype=bool).reshape(len(found), len(self.fields))
        numbers = np.stack([numbers for _, numbers in found]) if found else np.zeros((0, len(self.fields)), dtype=np.float32)
        parts = (torch.from_numpy(part).to(self.device) for part in (words, numbers, known))
        with torch.inference_mode():
            return self.network.persons(*parts, tokens, torch.from_numpy(dataset).to(self.device))

    def rater_tokens(self, places: Sequence[int]) -> torch.Tensor:
        """Places of training raters, -1 = unknown -> [n, width]."""
        with torch.inference_mode():
            return self.network.rater_tokens(torch.as_tensor(np.asarray(places, dtype=np.int64)).to(self.device))

    # --- answers

    def scores(
        self, images: Side, effects: np.ndarray, persons: Side, dataset: np.ndarray, *, pairs: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """[m] float64 scores on 0..1, not clipped, of pairs (places of images, places of persons)."""
        image, person = (torch.from_numpy(part).to(self.device) for part in pairs)
        with torch.inference_mode():
            parts = [
                self.network(images.rows(some), persons.rows(others))
                for some, others in zip(image.split(CHUNK), person.split(CHUNK), strict=True)
                if len(some)
            ]
        answers = torch.cat(parts).cpu().numpy().astype(np.float64) if parts else np.zeros(0)
        if not self.inputs.has_base:
            return 1 / (1 + np.exp(-answers))
        return self.centres[dataset[pairs[1]]] + effects[pairs[0]] + answers

    def place_of(self, known_as: str) -> int:
        """The place of a training rater, -1 if there is no such one with a token."""
        found = np.flatnonzero(self.names == hashed(known_as)) if known_as else ()
        return int(found[0]) if len(found) else -1

    def strength(self, n: int) -> float:
        """How much of the personal part counts after n context images."""
        return float(np.interp(np.log1p(n), np.log1p(self.contexts), self.strengths))

    def half_width(self, n: int) -> float:
        """Of the interval after n ratings, as a share of the scale."""
        return float(np.interp(np.log1p(n), np.log1p(self.shots), self.widths))

    # --- keeping

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` takes. The axes are kept in float16, which they were rounded to when they were learned."""
        named = {f"network.{name}": tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        named |= {"mean": self.inputs.mean, "axes": self.inputs.axes.astype(np.float16), "coefficients": self.inputs.coefficients}
        if self.texts is not None:
            named |= {"text_means": self.texts.means, "text_coefficients": self.texts.coefficients}
        return named | {"names": self.names, "rater_dataset": self.rater_dataset, "vectors": self.vectors}

    def config(self) -> dict[str, Any]:
        """What `from_tensors` takes beside the tensors."""
        return {
            "shape": self.network.shape.to_json(),
            "intercept": self.inputs.intercept,
            "spread": self.inputs.spread,
            "profile_fields": [field.to_json() for field in self.fields],
            "metadata": list(self.metadata),
            "text_encoder": self.text_key,
            "level": self.level,
            "trust": self.trust,
        } | {name: getattr(self, name).tolist() for name in ("centres", "contexts", "strengths", "shots", "widths")}

    @classmethod
    def from_tensors(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, device: str) -> PamelaModel:
        """The model that `config` and `tensors` were taken of.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of another shape.
        """
        with torch.random.fork_rng(devices=[]):  # making a network draws random numbers
            network = PersonalTransformer(Shape(**config["shape"]))
        state = {}
        for name, own in network.state_dict().items():
            found = torch.from_numpy(tensors[f"network.{name}"])
            if found.shape != own.shape:
                raise ValueError(f"{name} has the shape {tuple(found.shape)}, not {tuple(own.shape)}")
            state[name] = found
        network.load_state_dict(state)
        inputs = ImageInputs(
            mean=tensors["mean"],
            axes=tensors["axes"].astype(np.float32),
            coefficients=tensors["coefficients"],
            intercept=float(config["intercept"]),
            spread=float(config["spread"]),
        )
        texts = None
        if "text_coefficients" in tensors:
            texts = TextEffects(tensors["text_means"], tensors["text_coefficients"])
            kinds = (int(network.shape.prompts) + network.shape.metadata, network.shape.text)
            if not texts.means.shape == texts.coefficients.shape == kinds:
                raise ValueError(f"the effects of texts have the shape {texts.coefficients.shape}, not {kinds}")
        numbers = {name: np.array(config[name], dtype=np.float64) for name in ("centres", "contexts", "strengths", "shots", "widths")}
        return cls(
            network=network.to(choose_device(device)).eval().requires_grad_(False),
            inputs=inputs,
            texts=texts,
            fields=tuple(Field(**field) for field in config["profile_fields"]),
            metadata=tuple(config["metadata"]),
            text_key=str(config["text_encoder"]),
            level=float(config["level"]),
            trust=float(config["trust"]),
            **{name: tensors[name] for name in ("names", "rater_dataset", "vectors")},
            **numbers,
        )


def hashed(known_as: str) -> np.uint64:
    """8 bytes that stand for "DATASET/RATER": weights name nobody."""
    return np.uint64(int.from_bytes(hashlib.blake2b(known_as.encode(errors="surrogateescape"), digest_size=8).digest(), "big"))
