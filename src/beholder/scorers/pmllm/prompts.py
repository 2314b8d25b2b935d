"""From profile, question and score to tokens: what stands before the image is seen, what is asked, and where the score is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from beholder.backbones.language_model import LanguageModel
from beholder.errors import BeholderError
from beholder.personas import prompts, questions
from beholder.personas.questions import Question
from beholder.profile import Profile
from beholder.scorers.pmllm.config import PromptConfig

UNKNOWN = "unknown"  # of whom nothing is known, in the plain layout


@dataclass(frozen=True)
class ReadOut:
    """How a score is read from one forward pass over question and forced answer beginning.

    Args:
        tokens: question, turn marks and the answer up to its integer; one more token if some integers share their first one.
        integers: [k] legal integers.
        first: [k] token each integer begins with.
        place: position in `tokens` whose next token is the integer's first.
        shared: the token with which several integers begin ("1" of 1 and of 10), which is then the last of `tokens`; None if none.
        second: integer -> the token that follows the shared one, for those integers.
    """

    tokens: tuple[int, ...]
    integers: tuple[int, ...]
    first: tuple[int, ...]
    place: int
    shared: int | None
    second: dict[int, int]

    @property
    def vocabulary(self) -> list[int]:
        """The tokens whose logits are needed, ascending."""
        return sorted({*self.first, *self.second.values()})

    def probabilities(self, logits: torch.Tensor, *, tokens: list[int] | None = None) -> torch.Tensor:
        """Logits at `places` -> [..., k] probabilities of the legal integers, float32, sum 1.

        Args:
            logits: [..., 1 or 2, m].
            tokens: [m] tokens that the last axis stands for, such as `vocabulary`; the whole vocabulary in order if None.
        """
        column = _columns(tokens)
        first = sorted(set(self.first))
        chosen = logits[..., 0, [column(token) for token in first]].float().log_softmax(-1)
        found = chosen[..., [first.index(token) for token in self.first]]
        if self.shared is not None:
            seconds = list(self.second.items())
            then = logits[..., 1, [column(token) for _, token in seconds]].float().log_softmax(-1)
            extra = torch.zeros_like(found)
            for i, (integer, _) in enumerate(seconds):
                extra[..., self.integers.index(integer)] = then[..., i]
            found = found + extra
        return found.exp()

    def integer(self, logits: torch.Tensor, *, tokens: list[int] | None = None) -> torch.Tensor:
        """The integer that greedy decoding over the legal ones writes: token by token, as a reader of the text would see it. [...] int."""
        column = _columns(tokens)
        first = torch.tensor(self.first, device=logits.device)
        chosen = first[logits[..., 0, [column(token) for token in self.first]].argmax(-1)]
        values = torch.tensor(self.integers, device=logits.device)
        found = values[(chosen[..., None] == first).float().argmax(-1)]
        if self.shared is not None:
            integers = torch.tensor(list(self.second), device=logits.device)
            then = integers[logits[..., 1, [column(token) for token in self.second.values()]].argmax(-1)]
            found = torch.where(chosen == self.shared, then, found)
        return found

    @property
    def places(self) -> list[int]:
        """Positions whose logits are needed."""
        return [self.place] if self.shared is None else [self.place, self.place + 1]


def _columns(tokens: list[int] | None):
    """Token -> place on the last axis of logits."""
    return (lambda token: token) if tokens is None else tokens.index


class Prompter:
    """Writes the conversations of one language model.

    Args:
        language_model: its tokenizer and chat layout are used.
        config: see `PromptConfig`.
        mask_from: see `FusionConfig`.
    """

    def __init__(self, language_model: LanguageModel, *, config: PromptConfig, mask_from: str = "content") -> None:
        self.language_model, self.config = language_model, config
        self._from_header = mask_from == "header" and config.layout == "chat"
        self._readouts: dict[Question, ReadOut] = {}

    def question(self, attribute: str = questions.AESTHETIC, *, asked: bool = True) -> Question:
        """The question for a score, as it is asked or as it is trained."""
        family = (self.config.asked or self.config.question) if asked else self.config.question
        found = questions.scoring(family, attribute)
        return found.on(self.config.low, self.config.high) if family in questions.OURS else found

    def profile_text(self, profile: Profile) -> str:
        """The profile in words; "" if nothing is known."""
        return prompts.render(profile, style=self.config.style)

    def prefix(self, profile: Profile | str, *, room: int = 0) -> list[int]:
        """Token ids of everything before the first fused position.

        Args:
            profile: or its text.
            room: how many tokens must fit behind it.

        Raises:
            BeholderError: the profile is longer than the model's context.
        """
        text = self.language_model.harmless(profile if isinstance(profile, str) else self.profile_text(profile))
        if self.config.layout == "plain":
            before = f"Viewer: {text or UNKNOWN}\n"
        else:
            chat = self.language_model.chat
            before = chat.before_user(text)
            if self._from_header:
                before = before.removesuffix(chat.user[0])
        ids = self.language_model.encode(before)
        if len(ids) + room > self.language_model.context:
            raise BeholderError(
                f"the profile has {len(ids)} tokens; with the question of {room} that is more than the {self.language_model.context} that "
                f"{self.language_model.name} can see: shorten the profile"
            )
        return ids

    def asking(self, text: str) -> list[int]:
        """Token ids of a question, up to where the answer begins."""
        if self.config.layout == "plain":
            return self.language_model.encode(text)
        chat = self.language_model.chat
        return self.language_model.encode((chat.user[0] if self._from_header else "") + text + chat.after_user)

    @property
    def stop(self) -> list[int]:
        """Tokens that end an answer."""
        return self.language_model.encode("\n")[-1:] if self.config.layout == "plain" else self.language_model.stop

    def answering(self, text: str) -> list[int]:
        """Token ids of an answer and of the end of the turn."""
        end = "\n" if self.config.layout == "plain" else self.language_model.chat.after_answer
        return self.language_model.encode(text + end)

    def readout(self, question: Question) -> ReadOut:
        """Where and how the answer's integer is read. Built from the tokenizer: digits may be one token each, or numbers whole ones."""
        if question not in self._readouts:
            self._readouts[question] = self._make_readout(question)
        return self._readouts[question]

    def _make_readout(self, question: Question) -> ReadOut:
        asked = self.asking(question.text)
        written = {integer: self.answering(question.answered(integer)) for integer in question.integers}
        common = 0
        while len({ids[common] for ids in written.values()}) == 1:
            common += 1
        first = {integer: ids[common] for integer, ids in written.items()}
        several = {token for token in first.values() if list(first.values()).count(token) > 1}
        shared = several.pop() if several else None
        second = {integer: written[integer][common + 1] for integer, token in first.items() if token == shared}
        if several or len(set(second.values())) < len(second):
            raise BeholderError(
                f"the tokenizer of {self.language_model.name} writes the integers {question.low} to {question.high} in too many pieces to "
                "read them at once: ask on a smaller scale"
            )
        forced = next(iter(written.values()))[:common]
        tokens = (*asked, *forced, *(() if shared is None else (shared,)))
        return ReadOut(tokens, question.integers, tuple(first.values()), len(asked) + common - 1, shared, second)
