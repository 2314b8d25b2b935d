"""The scorers `pmllm` and `pmllm-s`: zero-shot scores from a profile, by a profile-aware multimodal language model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from beholder import __version__
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.personas import questions
from beholder.prediction import Predictions
from beholder.rater import Rater
from beholder.scorers import provenance
from beholder.scorers.base import FeatureSource
from beholder.scorers.feature_scorer import SHIPPED, FeatureScorer, read_weights, understanding, unique_rows, write_weights
from beholder.scorers.pmllm import config as configs
from beholder.scorers.pmllm.card import model_card
from beholder.scorers.pmllm.options import PMLLMOptions
from beholder.scorers.pmllm.recipes import Recipe

if TYPE_CHECKING:
    from beholder.scorers.pmllm.model import PMLLM

Progress = Callable[[int, int, str], None]
CHUNK = 512  # images whose features are in memory at once
OF_USE = ("read", "device", "dtype", "language_model")  # options that weights do not settle


class PMLLMScorer(FeatureScorer):
    """P-MLLM (arXiv 2604.17233): a frozen language model reads the profile, sees the image through selective fusion, and answers.

    The score is the mean of the integers under the model's probabilities (or the integer it would write), the interval has the width that
    held 90 % of the errors on training raters and images kept aside. Ratings of the rater are ignored.

    Args:
        features: tokens of an image encoder: its layers must hold "map@half", "map" or "tokens".
        options: see `PMLLMOptions`.

    Raises:
        BeholderError: the features hold no tokens.
    """

    name = "pmllm"
    gate: ClassVar[Literal["embedding", "scalar"]] = "embedding"
    uses_ratings = False
    uses_profile = True
    token_scorer = True
    slow_part = "the language model"
    feature_layers = ("map@half",)
    Options = PMLLMOptions

    def __init__(self, *, features: FeatureSource, options: PMLLMOptions | None = None) -> None:
        super().__init__(features=features)
        self.options = options or PMLLMOptions()
        widths = getattr(features, "token_widths", {})
        layers = [layer for layer in self.layer_widths() if layer in widths]
        if not layers:
            raise BeholderError(f"{self.name} needs the tokens of an image encoder (layer map@half, map or tokens), not only vectors")
        self.layer, self.token_width = layers[0], widths[layers[0]]
        self.recipe: Recipe | None = None
        self.trained: dict[str, Any] = {}
        self.progress: Callable[[int, int], None] | None = None  # of predict_many: pairs done, of how many
        self._seen = np.zeros(0, dtype=np.uint64)
        self._model = self._engine = None

    @property
    def version(self) -> str:
        return f"{__version__}+{self.trained.get('id', 'untrained')}{'' if self.options.read == 'expected' else '-integer'}"

    @property
    def model(self) -> PMLLM:
        """Language model, projector and fusion modules.

        Raises:
            BeholderError: nothing was learned or loaded yet.
        """
        self._ready()
        return self._model

    # --- learning

    def fit(self, train: Dataset, *, progress: Progress | None = None, checkpoints: str | os.PathLike | None = None) -> PMLLMScorer:
        """Train on the ratings of many raters; goes on from `checkpoints` if an interrupted training of the same kind is there.

        Raises:
            BeholderError: too little to learn from, or another training's checkpoint.
        """
        from beholder.scorers.pmllm.fitting import fit_model

        folder = None if checkpoints is None else Path(checkpoints)
        recipe = self.options.training_recipe(gate=self.gate, scale=train.scale)
        fitted = fit_model(train, recipe=recipe, scorer=self, folder=folder, progress=progress)
        self._take(fitted.model, fitted.recipe)
        images = [os.fspath(train.images[i]) for i in train.used_images]
        self._seen = provenance.fingerprints(images)
        self.trained = provenance.describe(train) | fitted.facts | {"id": provenance.identity(self._tensors())}
        return self

    def _take(self, model, recipe: Recipe) -> None:
        from beholder.scorers.pmllm.engine import ScoringEngine
        from beholder.scorers.pmllm.prompts import Prompter

        self.recipe, self._model = recipe, model
        self.prompter = Prompter(model.language_model, config=recipe.prompt, mask_from=recipe.fusion.mask_from)
        self._engine = ScoringEngine(model, self.prompter, question=self.prompter.question())

    # --- answering

    def predict(self, images: Sequence[str | os.PathLike], rater: Rater) -> Predictions:
        return self.predict_many([(images, rater)])[0]

    def predict_many(self, requests: Sequence[tuple[Sequence[str], Rater]]) -> list[Predictions]:
        """As `predict`; profiles and images that requests share are computed once, pairs of several raters together."""
        engine = self._ready()
        asked = [[os.fspath(image) for image in images] for images, _ in requests]
        images, rows = unique_rows(asked)
        texts = [self.prompter.profile_text(rater.profile) for _, rater in requests]
        values = [np.empty(len(places)) for places in rows]
        total, done = sum(map(len, rows)), 0
        for start in range(0, len(images), CHUNK):
            features = self.tokens(images[start : start + CHUNK])
            inside = [np.flatnonzero((places >= start) & (places < start + CHUNK)) for places in rows]
            pairs = [(text, rows[i][inside[i]] - start) for i, text in enumerate(texts)]
            for i, scores in enumerate(engine.score(pairs, features)):
                values[i][inside[i]] = scores.expected if self.options.read == "expected" else scores.integer
            done += sum(map(len, inside))
            if self.progress:
                self.progress(done, total)
        return [
            self._predictions(names, value, rater) for names, value, (_, rater) in zip(asked, values, requests, strict=True)
        ]

    def _predictions(self, images: list[str], value: np.ndarray, rater: Rater) -> Predictions:
        question, scale = self._engine.question, rater.scale
        half = float(self.trained["half_width"])
        ends = [questions.from_integer(value + change, scale=scale, question=question) for change in (0, -half, half)]
        score, low, high = (np.clip(end, scale.low, scale.high) for end in ends)
        return Predictions(tuple(images), score, low, high, scale=scale, scorer=self.name, version=self.version)

    def answer(self, image: str | os.PathLike, rater: Rater, *, question: str | None = None, max_new_tokens: int = 64) -> str:
        """Free text: what the model answers about an image as this rater, to the scoring question or to any other.

        The shipped model was trained to give scores only; text of it means little.
        """
        import torch

        self._ready()
        model, prompter = self._model, self.prompter
        asked = prompter.asking(question if question is not None else prompter.question().text)
        prefix = prompter.prefix(rater.profile, room=len(asked) + max_new_tokens)
        tokens = torch.tensor([prefix + asked], device=model.language_model.device)
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mask[:, len(prefix) :] = True
        with torch.inference_mode():
            seen = model.image_tokens(torch.tensor(self.tokens([os.fspath(image)]), device=tokens.device))
            made = model.generate(tokens, images=seen, mask=mask, max_new_tokens=max_new_tokens, eos_token_id=prompter.stop)
        return model.language_model.tokenizer.decode(made[0, tokens.shape[1] :], skip_special_tokens=True).strip()

    def tokens(self, images: Sequence[str]) -> np.ndarray:
        """[n, t, width] encoder tokens."""
        rows = self.features(images)
        columns = getattr(self.features, "layers", {}).get(self.layer, slice(None))
        return np.ascontiguousarray(rows[:, columns]).reshape(len(rows), -1, self.token_width)

    def _ready(self):
        if self._engine is None:
            raise BeholderError(f"{self.name} has not learned anything yet: fit it, or load weights")
        return self._engine

    def trained_on(self, images: Sequence[str]) -> int:
        """How many of the images the weights were trained on."""
        return int(np.isin(provenance.fingerprints(images), self._seen).sum())

    # --- keeping

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {name: tensor.float().cpu().numpy().astype(np.float16) for name, tensor in self._model.trained_state().items()}
        return tensors | {"seen": self._seen}

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """config.json, model.safetensors (what was trained, in float16, nothing of the language model) and the model card."""
        self._ready()
        language = self._model.language_model
        config = {
            "scorer": self.name,
            "beholder": __version__,
            "features": self.features.key,
            "image_width": self.token_width,
            "language_model": {"name": self.recipe.language_model, "revision": language.revision},
            "fusion": asdict(self.recipe.fusion),
            "prompt": asdict(self.recipe.prompt),
            "training": asdict(self.recipe.training),
            "trained": self.trained,
        }
        return write_weights(folder, config=config, tensors=self._tensors(), card=model_card(self.name, config, self._model))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike | None = None, *, features: FeatureSource, options: PMLLMOptions | None = None
    ) -> PMLLMScorer:
        """What `save_pretrained` wrote; the shipped weights if no folder is given.

        Raises:
            BeholderError: nothing there, damaged, or trained on another language model or encoder (both are named).
        """
        scorer = cls(features=features, options=options)
        settled = [name for name, value in vars(scorer.options).items() if value is not None and name not in OF_USE]
        if settled:
            warnings.warn(f"{', '.join(settled)}: settled when {cls.name} was trained, weights that are loaded keep their own; train again to change it", stacklevel=2)
        folder = SHIPPED / cls.name if folder is None else Path(folder)
        config, tensors = read_weights(folder, scorer=cls.name)
        with understanding(folder, scorer=cls.name):
            scorer.check_features(config["features"], folder=folder)
            import torch

            from beholder.backbones.language_model import load_language_model
            from beholder.scorers.pmllm.model import PMLLM

            wanted, fusion = config["language_model"], configs.from_dict(configs.FusionConfig, config["fusion"])
            name = scorer.options.language_model or wanted["name"]
            language = load_language_model(name, dtype=scorer.options.dtype, device=scorer.options.device)
            if language.revision != wanted["revision"]:
                raise BeholderError(
                    f"the {cls.name} weights in {folder} were trained on the language model {wanted['name']} ({wanted['revision']}), "
                    f"this is {name} ({language.revision}): use that one, or train again"
                )
            model = PMLLM(language, image_width=int(config["image_width"]), config=fusion)
            scorer._seen = tensors.pop("seen")
            model.load_trained({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
            model.eval().requires_grad_(False)
            recipe = Recipe(language_model=wanted["name"], fusion=fusion, prompt=configs.from_dict(configs.PromptConfig, config["prompt"]))
            scorer.trained = dict(config["trained"])
            float(scorer.trained["half_width"])
            scorer._take(model, recipe)
        return scorer


class PMLLMSScorer(PMLLMScorer):
    """P-MLLM-S: the same with one learned number per head in place of the embedding-conditioned gates."""

    name = "pmllm-s"
    gate = "scalar"

