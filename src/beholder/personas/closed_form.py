"""The closed-form questionnaire: how accurate a statement is, from 1 to 5, read from the next-token probabilities of a language model.

The persona is the system message; instruction and statement are the user's turn, and the answer is begun for the model. One forward pass gives the
mean of the digits 1 to 5 under the model's probabilities: nothing is generated, nothing can be refused or off the scale. The instruction stands
before the statement, so that persona and instruction are computed once for all items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from beholder.backbones.language_model import LanguageModel
from beholder.backbones.prefix_tree import common, grown
from beholder.backbones.shared_prefix import Prefix, SharedPrefixModel
from beholder.errors import BeholderError
from beholder.personas.ledger import Counts
from beholder.personas.paired_images import PairedImages, short_hash

if TYPE_CHECKING:
    from beholder.personas.inventory import Inventory
    from beholder.scorers.pmllm.model import PMLLM

Progress = Callable[[int, int], None]
LOW, HIGH = 1, 5
ANCHORS = ("very inaccurate", "moderately inaccurate", "neither inaccurate nor accurate", "moderately accurate", "very accurate")
INSTRUCTION = "Rate how accurately the statement describes you: {anchors}. Answer with one number."
STATEMENT = "\n\nStatement: {statement}"
ANSWER = "Answer: "
TOKENS = {"cpu": 2048, "cuda": 32768}  # per forward pass
PASS = 32  # tokens that take about as long as what a forward pass costs in any case


@dataclass(frozen=True)
class _Asked:
    """All items as one persona, anchors in one order.

    Args:
        persona: its place. descending: the order of the anchors.
        prefix: tokens that the items share, computed once.
        items: what follows in each, up to where the digit comes.
    """

    persona: int
    descending: bool
    prefix: list[int]
    items: list[list[int]]


class ClosedForm:
    """Answers an inventory by the probabilities of the digits; a `Respondent`.

    Answers depend on persona and item only (and on the image drawn for the pair), up to rounding of sums: not on who or what else is asked.

    Args:
        language_model: of the Llama architecture.
        balanced: ask each item twice, with anchors from 1 = very inaccurate and from 1 = very accurate on, and take the mean: a liking for some
            digit cancels out.
        tokens: most tokens per forward pass; a fitting number for the device if None.
    """

    unit = "item answers"
    together = 108  # personas at once: a third of all formats of one profile, which begin alike

    def __init__(self, language_model: LanguageModel, *, balanced: bool = False, tokens: int | None = None) -> None:
        self.language_model, self.balanced = language_model, balanced
        self.name = language_model.name
        self.counts = Counts()
        self.tokens = tokens or TOKENS.get(language_model.device.split(":")[0], TOKENS["cpu"])
        self._model: Any = SharedPrefixModel(language_model)
        self._images: PairedImages | None = None
        self._digits, self._tail = self._answer_tokens()

    @classmethod
    def of_pmllm(
        cls, model: PMLLM, features: np.ndarray | None, *, seed: int = 0, balanced: bool = False, tokens: int | None = None
    ) -> ClosedForm:
        """A P-MLLM, which sees one image with each item; the prompts are those of its language model alone.

        Fusion acts on instruction, statement and answer, as it does on a question about an image. Which image a (persona, item) is paired with is
        decided by a hash of seed, persona and statement.

        Args:
            features: [m, t, width] tokens of the image encoder; None to ask the language model alone, whose answers and version these then are.

        Raises:
            BeholderError: there is no image.
        """
        made = cls(model.language_model, balanced=balanced, tokens=tokens)
        if features is None:
            return made
        made.name = f"{made.name}+images"
        made._model, made._images = model, PairedImages(model, features, seed=seed)
        return made

    @property
    def version(self) -> str:
        """Weights, their type, wording and options; with images also what was trained, the images and the seed."""
        wording = [ANCHORS, INSTRUCTION, STATEMENT, ANSWER]
        parts = ["closed", self.language_model.revision, str(self.language_model.dtype).removeprefix("torch."), short_hash(json.dumps(wording).encode())]
        return "/".join([*parts, *(["balanced"] if self.balanced else []), *([self._images.version] if self._images else [])])

    # --- answering

    def answers(self, personas: Sequence[str], inventory: Inventory, *, progress: Progress | None = None) -> np.ndarray:
        """Persona texts ("" = nobody) -> agreement with each statement as worded, [n_personas, n_items] float64 within 1 to 5, none missing.

        Many personas at once are faster: beginnings that they share are computed once, in whatever order they stand.

        Raises:
            BeholderError: an item has no statement, or a persona does not fit into the model's context.
        """
        for item in inventory.items:
            if not item.statement.strip():
                raise BeholderError(
                    f"the item {item.name} of {inventory.name} has no statement whose accuracy could be rated: give the inventory a column "
                    "statement, or ask its open question in the mode open"
                )
        for persona in personas:
            if not isinstance(persona, str):
                raise BeholderError(f"a persona is a text, not {type(persona).__name__}: render the profile first")
        self.counts = replace(self.counts, asked=self.counts.asked + len(personas) * len(inventory.items))
        texts = [self.language_model.harmless(persona) for persona in personas]
        distinct = list(dict.fromkeys(texts))
        items = [item.statement for item in inventory.items]
        statements = list(dict.fromkeys(items))
        if not distinct or not statements:
            return np.empty((len(personas), len(items)))
        with torch.inference_mode():
            found = self._all(distinct, statements, progress=_scaled(progress, len(personas) * len(items)))
        row = {text: place for place, text in enumerate(distinct)}
        column = {text: place for place, text in enumerate(statements)}
        return found[np.ix_([row[text] for text in texts], [column[text] for text in items])]

    def _all(self, personas: list[str], statements: list[str], *, progress: Callable[[float], None]) -> np.ndarray:
        """[n_personas, n_statements], no text twice."""
        orders = (False, True) if self.balanced else (False,)
        asked = [self._asked(place, persona, statements, descending=order) for place, persona in enumerate(personas) for order in orders]
        images = None if self._images is None else self._drawn(personas, statements)
        sums, done = np.zeros((len(personas), len(statements))), 0
        for places, prefix in grown([one.prefix for one in asked], make=self._model.prefixes, tokens=self.tokens):
            for rows, columns in self._passes([asked[place].items for place in places]):
                some = [asked[places[row]] for row in rows]
                which = None if images is None else images[np.ix_([one.persona for one in some], columns)].ravel()
                index = torch.tensor(rows, device=prefix.lengths.device)
                found = self._forward([[one.items[i] for i in columns] for one in some], prefix=prefix.rows(index).trimmed(), images=which)
                for one, values in zip(some, found, strict=True):
                    sums[one.persona, columns] += LOW + HIGH - values if one.descending else values
                done += found.size
                progress(done / (len(asked) * len(statements)))
        return sums / len(orders)

    def _drawn(self, personas: list[str], statements: list[str]) -> np.ndarray:
        """[n_personas, n_statements] places of images."""
        return np.array([[self._images.place(persona, statement) for statement in statements] for persona in personas])

    def _passes(self, items: list[list[list[int]]]) -> list[tuple[list[int], list[int]]]:
        """(rows, columns) of each forward pass: several personas with items of about the same length, so that little is padding."""
        lengths = np.array([[len(ids) for ids in row] for row in items]).max(axis=0)
        order, best = np.argsort(lengths, kind="stable"), (np.inf, [])
        for parts in range(1, len(order) + 1):
            found, cost = [], 0
            for columns in np.array_split(order, parts):
                each = int(lengths[columns[-1]]) * len(columns)
                if each > self.tokens and len(columns) > 1:
                    break
                passes = -(-len(items) // max(1, self.tokens // each))
                found += [(rows.tolist(), columns.tolist()) for rows in np.array_split(np.arange(len(items)), passes)]
                cost += each * len(items) + PASS * passes
            else:
                if cost < best[0]:
                    best = (cost, found)
        return best[1]

    def _forward(self, items: list[list[list[int]]], *, prefix: Prefix, images: np.ndarray | None) -> np.ndarray:
        """Tokens [r][k][...] after r prefixes -> [r, k] mean digits. images: [r * k] places."""
        language = self.language_model
        flat = [ids for row in items for ids in row]
        tokens = torch.full((len(flat), max(map(len, flat))), language.padding, dtype=torch.long)
        for row, ids in enumerate(flat):  # padding on the right: nothing looks ahead
            tokens[row, : len(ids)] = torch.tensor(ids)
        tokens = tokens.to(language.device)
        seen = {} if self._images is None else {"images": self._images.tokens(images)}
        hidden = self._model.after_prefix(tokens, prefix=prefix, **seen)
        last = torch.tensor([len(ids) - 1 for ids in flat], device=tokens.device)
        logits = self._model.logits_of(hidden[torch.arange(len(flat), device=tokens.device), last], self._digits)
        digits = torch.arange(LOW, HIGH + 1, dtype=torch.float64, device=tokens.device)
        return (logits.softmax(-1).double() @ digits).cpu().numpy().reshape(len(items), -1)

    # --- prompts

    def _asked(self, place: int, persona: str, statements: list[str], *, descending: bool) -> _Asked:
        """Whole prompts are made tokens first, and cut afterwards: text that was cut first might be written in other tokens."""
        written = self.language_model.tokenizer(
            [self._written(persona, statement, descending=descending) for statement in statements], add_special_tokens=False
        )["input_ids"]
        ids = [one[: -self._tail] for one in written]
        longest = max(map(len, ids))
        if longest > self.language_model.context:
            raise BeholderError(
                f"the persona {persona[:40]!r} makes a question of {longest} tokens, more than the {self.language_model.context} that "
                f"{self.language_model.name} can see: shorten the persona"
            )
        shared = min(common(ids), *(len(one) - 1 for one in ids))
        if self._images is not None:  # what sees the image is no prefix
            before = self.language_model.chat.before_user(persona)
            if self._images.model.config.mask_from == "header":
                before = before.removesuffix(self.language_model.chat.user[0])
            shared = min(shared, common([self.language_model.encode(before), ids[0]]))
        return _Asked(place, descending, ids[0][:shared], [one[shared:] for one in ids])

    def _written(self, persona: str, statement: str, *, descending: bool = False, digit: int = LOW) -> str:
        """The whole conversation, with an answer."""
        return self.prompt(persona, statement, descending=descending) + str(digit) + self.language_model.chat.after_answer

    def prompt(self, persona: str, statement: str, *, descending: bool = False) -> str:
        """The whole prompt, up to where the digit comes."""
        anchors = ", ".join(f"{LOW + i} = {anchor}" for i, anchor in enumerate(reversed(ANCHORS) if descending else ANCHORS))
        chat, harmless = self.language_model.chat, self.language_model.harmless
        user = INSTRUCTION.format(anchors=anchors) + STATEMENT.format(statement=harmless(statement))
        return chat.before_user(harmless(persona)) + user + chat.after_user + ANSWER

    def _answer_tokens(self) -> tuple[list[int], int]:
        """The token of each digit, and how many tokens the prompt with an answer has from it on."""
        written = [self.language_model.encode(self._written("", "I am.", digit=digit)) for digit in range(LOW, HIGH + 1)]
        place = common(written)
        digits = [ids[place] for ids in written]
        if len(set(digits)) < len(digits) or len({len(ids) for ids in written}) > 1:
            raise BeholderError(
                f"the tokenizer of {self.language_model.name} does not write the digits {LOW} to {HIGH} as one token each: use the mode open"
            )
        return digits, len(written[0]) - place


def _scaled(progress: Progress | None, total: int) -> Callable[[float], None]:
    """Tells a share of the work as answers done, of all that were asked for."""
    return (lambda share: None) if progress is None else (lambda share: progress(round(share * total), total))
