"""From datasets to a trained model: epochs over batches of several ratings per rater, the best of them kept, and resuming."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beholder.about import About
from beholder.backbones.torch_encoder import choose_device
from beholder.datasets.base import Dataset
from beholder.errors import BeholderError
from beholder.scorers.checkpoint import Checkpoint, one_thread
from beholder.scorers.pamela.calibration import Calibration
from beholder.scorers.pamela.learned import PamelaModel
from beholder.scorers.pamela.loss import pairwise_loss, rating_loss
from beholder.scorers.pamela.model import PersonalTransformer, Shape
from beholder.scorers.pamela.options import PamelaOptions
from beholder.scorers.pamela.preparing import Table, prepare, with_texts
from beholder.scorers.pamela.texts import Vectors, metadata_text, profile_texts

Progress = Callable[[int, int, str], None]
NAME = "pamela"
WARM_UP = 50  # steps until the full learning rate
LEAST_RATE = 0.02  # share of the learning rate that is left at the end
LONGEST_STEP = 1.0  # norm that gradients are clipped to
FEW_RATERS = 20
MAX_METADATA = 12  # kinds of metadata that become tokens


def fit_model(
    datasets: Sequence[Dataset],
    features: Sequence[np.ndarray],
    *,
    options: PamelaOptions,
    vectors: Vectors,
    key: str,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[PamelaModel, dict[str, Any]]:
    """Train.

    Args:
        datasets: the first is the one whose raters are to be predicted; features: [images, d] of each one's used images.
        key: names the features.
        folder: for the checkpoint.
        progress: called with (epochs done, epochs in all, what is done now).

    Returns:
        The model, and facts for config.json.

    Raises:
        BeholderError: too little to learn from, another training's checkpoint, or a loss that is no number any more.
    """
    for dataset in datasets:
        if len(dataset.used_raters) < 2 or len(dataset.used_images) < 5 or len(dataset.rating_score) < 20:
            raise BeholderError(
                f"{dataset.name} has {len(dataset.used_raters)} raters, {len(dataset.used_images)} images and {len(dataset.rating_score)} "
                "ratings to learn from: pamela needs at least 2, 5 and 20"
            )
    if len(datasets[0].used_raters) < FEW_RATERS:
        warnings.warn(
            f"{datasets[0].name} has {len(datasets[0].used_raters)} raters: hardly anything personal can be learned from so few, tens of them are needed", stacklevel=2
        )
    say = progress or (lambda done, total, text: None)
    say(0, options.epochs + 1, "pamela: what raters share")
    device = torch.device(choose_device(options.device))
    table = prepare(datasets, features, options=options)
    with one_thread(device), _seeded(options.seed, device=device):
        run = _Run(table, datasets, options=options, vectors=vectors, device=device)
        facts = run.train(Checkpoint(folder, name=NAME, identity=_identity(datasets, options, key=f"{key}|{device.type}")), say=say)
        say(options.epochs, options.epochs + 1, "pamela: strength of the personal part and width of the intervals")
        model = run.model()
        run.calibration.measure(model)
    say(options.epochs + 1, options.epochs + 1, "done")
    return model, facts | {"held_out": _held(table), "text_gain": None if model.texts is None else round(run.table.texts.gain, 4)}


def _held(table: Table) -> str:
    return f"{int(table.held_rater.sum())} raters and {int(table.held_image.sum())} images"


class _Run:
    """One training: the network, what it is shown, and how far it is."""

    def __init__(
        self, table: Table, datasets: Sequence[Dataset], *, options: PamelaOptions, vectors: Vectors, device: torch.device
    ) -> None:
        self.table, self.options, self.vectors, self.device = table, options, vectors, device
        told = {path: about for dataset in datasets for path, about in dataset.about().items()}
        self.about = [told.get(path) or About() for path in table.paths]
        names = sorted({name for about in self.about for name in about.metadata})[:MAX_METADATA] if options.metadata else []
        self.metadata = tuple(names)
        with_prompts = options.prompts and any(about.prompt for about in self.about)
        needs_text = with_prompts or names or table.fields
        self.known_raters = np.flatnonzero(~table.held_rater) if options.rater_id else np.zeros(0, dtype=np.int64)
        effects = table.effects / table.inputs.spread if table.inputs.has_base else None
        self.inputs = table.components if effects is None else np.column_stack([table.components, effects])
        self.inputs = self.inputs.astype(np.float32)
        shape = Shape(
            inputs=self.inputs.shape[1],
            text=vectors.encoder.dim if needs_text else 1,
            fields=len(table.fields),
            metadata=len(names),
            datasets=len(datasets),
            raters=len(self.known_raters),
            prompts=with_prompts,
            **{name: getattr(options, name) for name in ("width", "layers", "heads", "product", "dropout")},
        )
        self.text_key = vectors.key if needs_text else ""
        self.network = PersonalTransformer(shape).to(device)
        with torch.no_grad():
            if not table.inputs.has_base:
                mean = float(np.clip(table.score.mean(), 0.02, 0.98))
                self.network.head.bias.fill_(math.log(mean / (1 - mean)))
        self._tensors()
        self.table = table = with_texts(table, self.words.cpu().numpy(), self.image_words.cpu().numpy())
        self.calibration = Calibration(table, self.about, vectors=vectors, options=options)
        raters = [parameter for name, parameter in self.network.named_parameters() if name == "rater"]
        others = [parameter for name, parameter in self.network.named_parameters() if name != "rater"]
        groups = [{"params": others, "weight_decay": options.weight_decay, "rate": options.learning_rate}]
        groups += [{"params": raters, "weight_decay": 0.0, "rate": options.rater_learning_rate}] if raters else []
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate)

    def _tensors(self) -> None:
        """What the network is shown, on its device."""
        table, shape, device = self.table, self.network.shape, self.device
        described = [profile_texts(profile, table.fields) for profile in table.profiles]
        texts = [text for one, _ in described for text in one]
        about = [
            text
            for one in self.about
            for text in ([one.prompt] if shape.prompts else [])
            + [metadata_text(name, one.metadata.get(name, "")) for name in self.metadata]
        ]
        every = ["", *sorted({*texts, *about} - {""})]
        place = {text: i for i, text in enumerate(every)}
        slots = int(shape.prompts) + shape.metadata

        def rows(values: list[str], *size: int) -> torch.Tensor:
            return torch.tensor([place[text] for text in values], dtype=torch.long, device=device).reshape(*size)

        self.words = torch.from_numpy(self.vectors(every, dim=shape.text)).to(device)
        self.rater_words, self.image_words = rows(texts, len(described), shape.fields), rows(about, len(self.about), slots)
        self.rater_numbers = torch.from_numpy(np.stack([numbers for _, numbers in described])).to(device)
        own = np.full(len(table.profiles), -1)
        own[self.known_raters] = np.arange(len(self.known_raters))
        self.own = torch.from_numpy(own).to(device)
        self.rater_dataset = torch.from_numpy(table.rater_dataset).to(device)
        self.image_inputs = torch.from_numpy(self.inputs).to(device)
        base = table.centres[table.image_dataset] + table.effects
        self.base = torch.from_numpy(base.astype(np.float32)).to(device)

    def train(self, checkpoint: Checkpoint, *, say: Progress) -> dict[str, Any]:
        """Epochs until the last, or until nothing gets better; leaves the best one's parameters in the network."""
        options, network = self.options, self.network
        done, best_epoch, best_value, best = 0, 0, math.inf, None
        kept = checkpoint.load()
        if kept is not None:
            network.load_state_dict(kept["network"])
            self.optimizer.load_state_dict(kept["optimizer"])
            done, best_epoch, best_value, best = (kept[name] for name in ("done", "best_epoch", "best_value", "best"))
            say(done, options.epochs + 1, f"pamela: going on after epoch {done}")
        while done < options.epochs and not (options.patience and best_epoch and done - best_epoch >= options.patience):
            loss = self._epoch(done)
            if not math.isfinite(loss):
                raise BeholderError(
                    f"the loss of pamela is no number any more in epoch {done + 1}: lower learning_rate (now {options.learning_rate:g}) "
                    f"or rater_learning_rate (now {options.rater_learning_rate:g})"
                )
            done += 1
            value = self.calibration.loss(self.model())
            settled = 2 * done >= options.epochs  # before, the learning rate is high and what is measured mostly noise
            if settled and (value is None or value < best_value or best is None):
                best_epoch, best_value = done, math.inf if value is None else value
                best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
            state = {"network": network.state_dict(), "optimizer": self.optimizer.state_dict(), "done": done}
            checkpoint.save(state | {"best_epoch": best_epoch, "best_value": best_value, "best": best})
            validated = "" if value is None else f", validation {value:.5f}" + (f" (best in epoch {best_epoch})" if best_epoch else "")
            say(done, options.epochs + 1, f"pamela: epoch {done}: loss {loss:.4f}{validated}")
        network.load_state_dict(best)
        network.eval()
        return {"epochs": done, "best_epoch": best_epoch, "validation": best_value if math.isfinite(best_value) else None}

    def _epoch(self, epoch: int) -> float:
        """One pass; the mean loss. What is random in it follows from the epoch's number."""
        options, table = self.options, self.table
        random = np.random.default_rng([options.seed, 1, epoch])
        torch.manual_seed(int(random.integers(2**31)))
        target = torch.from_numpy(table.score.astype(np.float32)).to(self.device)
        batches = list(self._batches(random))
        self.network.train()
        total, steps = 0.0, options.epochs * len(batches)
        for number, rows in enumerate(batches):
            step = epoch * len(batches) + number + 1
            share = min(1.0, step / WARM_UP) * (LEAST_RATE + 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
            for group in self.optimizer.param_groups:
                group["lr"] = group["rate"] * share
            scores = self._scores(rows)
            wanted = target[torch.from_numpy(rows).to(self.device)]
            loss = rating_loss(scores, wanted, kind=options.loss) / 0.1  # an error of a third of the scale then costs about 1
            if options.pairwise:
                loss = loss + options.pairwise * pairwise_loss(scores, wanted, margin=options.tie_margin)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_STEP)
            self.optimizer.step()
            total += float(loss.detach())
        self.network.eval()
        return total / max(len(batches), 1)

    def _batches(self, random: np.random.Generator) -> Iterator[np.ndarray]:
        """Rows of ratings [raters, ratings of each]; of further datasets at most as many as of the first (ours)."""
        options, table = self.options, self.table
        learned = np.flatnonzero(table.learned)
        learned = learned[np.argsort(table.rater[learned], kind="stable")]
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for rows in np.split(learned, np.flatnonzero(np.diff(table.rater[learned])) + 1):
            rows = random.permutation(rows)
            n = max(1, len(rows) // options.per_rater)
            rows = np.resize(rows, options.per_rater) if n * options.per_rater > len(rows) else rows[: n * options.per_rater]
            parts[int(table.rater_dataset[table.rater[rows[0]]] > 0)].extend(rows.reshape(n, -1))
        others = [parts[1][i] for i in random.permutation(len(parts[1]))[: len(parts[0])]]
        every = np.stack(parts[0] + others)
        order, size = random.permutation(len(every)), max(1, options.batch // options.per_rater)
        for start in range(0, len(order), size):
            yield every[order[start : start + size]]

    def _scores(self, rows: np.ndarray) -> torch.Tensor:
        """[raters, ratings of each] scores on 0..1, with tokens hidden at random."""
        options, network, table = self.options, self.network, self.table
        who = torch.from_numpy(table.rater[rows[:, 0]]).to(self.device)
        images, place = np.unique(table.image[rows], return_inverse=True)
        shown = torch.from_numpy(images).to(self.device)

        def seen(words: torch.Tensor) -> torch.Tensor:
            return (words > 0) & (torch.rand(words.shape) >= options.field_dropout).to(self.device)

        words, about = self.rater_words[who], self.image_words[shown]
        unknown = (torch.rand(len(who)) < options.rater_dropout).to(self.device)
        tokens = network.rater_tokens(self.own[who].masked_fill(unknown, -1))
        persons = network.persons(self.words[words], self.rater_numbers[who] * (words > 0), seen(words), tokens, self.rater_dataset[who])
        sides = network.images(self.image_inputs[shown], self.words[about], seen(about))
        image = torch.from_numpy(place.reshape(-1)).to(self.device)
        person = torch.arange(len(who), device=self.device).repeat_interleave(rows.shape[1])
        answers = network(sides.rows(image), persons.rows(person))
        answers = self.base[shown][image] + answers if table.inputs.has_base else torch.sigmoid(answers)
        return answers.reshape(rows.shape)

    # --- what has been learned so far

    def model(self) -> PamelaModel:
        """As it is now, its strength and widths yet to be measured."""
        table = self.table
        return PamelaModel(
            network=self.network.eval(),
            inputs=table.inputs,
            texts=None if table.texts is None else table.texts.effects,
            fields=table.fields,
            metadata=self.metadata,
            text_key=self.text_key,
            centres=table.centres,
            names=table.names[self.known_raters],
            rater_dataset=table.rater_dataset[self.known_raters],
            vectors=np.zeros((0, 0, 0), dtype=np.float32),
            trust=1.0,
            contexts=np.array([0.0, 1.0]),
            strengths=np.array([0.0, 1.0]),
            level=2.0,
            shots=np.zeros(1),
            widths=np.ones(1),
        )


def _identity(datasets: Sequence[Dataset], options: PamelaOptions, *, key: str) -> str:
    """A hash of everything a training depends on."""
    digest = hashlib.sha256(json.dumps([options.of_training(), key], default=str).encode())
    for dataset in datasets:
        about = sorted((path, one.prompt, sorted(one.metadata.items())) for path, one in dataset.about().items())
        known = [profile.known() for profile in dataset.profiles]
        named = [dataset.name, dataset.raters, dataset.image_ids, dataset.groups, str(dataset.scale), known, about]
        digest.update(json.dumps(named, default=str).encode())
        for values in (dataset.rating_rater, dataset.rating_image, dataset.rating_score):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:24]


@contextmanager
def _seeded(seed: int, *, device: torch.device) -> Iterator[None]:
    """Inside, torch's random numbers follow from the seed; those of others go on as if nothing had been."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
