"""Who writes prompts: language models behind a URL or on this machine, and writers of your own. The instructions are ours."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from beholder.backbones.chat import GOES_ON, ChatModel, ChatRequest, NoAnswer, Reply, Sampling, open_chat_model
from beholder.backbones.sampling import SEEDS
from beholder.errors import BeholderError
from beholder.steering.base import CallFailed, Proposal, Shown, Writer
from beholder.steering.prompt_list import parse_prompts

INSTRUCTION = "1"  # another one whenever the texts below change
MOST_ASKED = 4  # questions of one call: models that give short lists are asked for the rest
LEAST_TOKENS = 64  # an answer shorter than that holds no prompt
SYSTEM = "You write prompts for a text-to-image model. You answer with prompts only."
OWN_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_writer(
    uri: str | os.PathLike,
    *,
    temperature: float = 0.7,
    top_p: float = 0.95,
    max_tokens: int = 3000,
    api_key_env: str = "OPENAI_API_KEY",
    timeout: float = 120.0,
    retries: int = 6,
    device: str = "auto",
    prices: tuple[float, float] | None = None,
) -> Writer:
    """A writer by name.

    Args:
        uri: "http(s)://host:port/v1#model" of an OpenAI-compatible server; "phrases" (rules, no model); a language model on this machine (a
            folder, a hub repository, or the embedded "smollm2-135m-instruct"); or "module:Class" of a class derived from `Writer`, made without
            arguments.
        temperature, top_p: how answers are sampled; temperature 0 = always the most probable words.
        max_tokens: of an answer.
        api_key_env, timeout, retries, device, prices: see `open_chat_model`.

    Raises:
        BeholderError: there is no such writer, or a number is out of range.
        MissingExtra: httpx, or torch and transformers, are not installed.
    """
    name = os.fspath(uri).strip()
    if name.lower() == "phrases":
        from beholder.steering.phrases import PhraseWriter

        return PhraseWriter()
    if OWN_CLASS.fullmatch(name):
        return _own(name)
    # Replies are not kept in the cache that other commands share. The run folder has every answer, and a new run is meant to ask anew: a server
    # that ignores the seed would else seem to repeat itself, and one command would silently live on the answers of another.
    close = difflib.get_close_matches(name.lower(), ("phrases",), n=1)
    if close:
        raise BeholderError(f"there is no writer {name!r}: did you mean {close[0]}? Others are http(s)://HOST/v1#MODEL, a language model on this machine, module:Class")
    model = open_chat_model(name, api_key_env=api_key_env, keep=False, prices=prices, timeout=timeout, retries=retries, device=device)
    return ChatWriter(model, temperature=temperature, top_p=top_p, max_tokens=max_tokens)


class ChatWriter(Writer):
    """A language model that is told the goal, and which prompts did how well.

    Args:
        model: without a cache, see `open_writer`.
        temperature, top_p, max_tokens: see `open_writer`.
    """

    def __init__(self, model: ChatModel, *, temperature: float = 0.7, top_p: float = 0.95, max_tokens: int = 3000) -> None:
        if temperature:
            Sampling(temperature, top_p)
        if max_tokens < LEAST_TOKENS:
            raise BeholderError(f"max_tokens = {max_tokens} leaves no room for prompts: give {LEAST_TOKENS} or more")
        self.model, self.name = model, model.name
        self._temperature, self._top_p, self._max_tokens = temperature, top_p, max_tokens
        self._shortened: list[tuple[int, int]] = []  # (prompts shown, of how many)

    @property
    def version(self) -> str:
        """Weights as far as they are known, instruction and sampling."""
        return f"{self.model.version}/instruction {INSTRUCTION}/t={self._temperature:g}/p={self._top_p:g}/{self._max_tokens}"

    def propose(self, goal: str, *, n: int, history: Sequence[Shown], seed: int, max_words: int) -> Proposal:
        """See `Writer.propose`. A model that gives fewer is asked for the rest, not more at once than it gave before.

        Histories that do not fit into the context are shortened from their end; `notes` says so.
        """
        found: dict[str, str] = {}  # by their words in small letters
        raws: list[str] = []
        portion = n
        for number in range(MOST_ASKED):
            before = list(found.values())

            def question(share: float, portion: int = portion, before: list[str] = before) -> str:
                shown = history[: _part(len(history), share)]
                return instruction(goal, n=portion, history=shown, before=before[: _part(len(before), share)], max_words=max_words)

            earlier = self.kept.get(number) if self.kept is not None else None
            try:
                answer = earlier or self._answer(question, seed=_derived(seed, number), n_history=len(history))
            except CallFailed as error:
                if not found or error.kind == "unreachable":
                    raise
                break  # what there is is better than nothing; the search asks again if it wants more
            raws.append(answer["raw"])
            for prompt in answer["prompts"]:
                found.setdefault(prompt.casefold(), prompt)
            if len(found) >= n or len(found) == len(before) or number + 1 == MOST_ASKED:
                break
            if self.kept is not None and earlier is None:  # the last answer is kept with the proposal
                self.kept.put(number, **answer)
            portion = min(n - len(found), max(len(found) - len(before), 1))
        return Proposal(tuple(found.values()), raw="\n\n".join(raws))

    def complete(self, text: str, *, seed: int) -> str:
        """See `Writer.complete`."""
        reply, _, _ = self._ask(lambda _: text, seed=seed, system="")
        if reply.refused:
            raise CallFailed(f"{self.name} refused to answer ({_start(reply.text)})", kind="refused")
        if not reply.text.strip():
            raise CallFailed(f"{self.name} answered nothing", kind="broken")
        return reply.text

    def notes(self) -> list[str]:
        """Usage, cost, and what was not as wished."""
        notes = [f"writer {self.name}: {self.model.usage}"]
        if self._shortened:
            least, most = min(shown for shown, _ in self._shortened), max(known for _, known in self._shortened)
            notes.append(
                f"the context of {self.name} was too small in {len(self._shortened)} calls: it was shown as few as {least} of up to {most} prompts; "
                f"feed back fewer, or take a model with a longer context"
            )
        if self.model.unsent and self._temperature:
            fields = " and ".join(sorted(self.model.unsent))
            notes.append(f"{self.name} does not take {fields}, so another run may get other prompts even with the same seed")
        return notes

    def _answer(self, question: Callable[[float], str], *, seed: int, n_history: int) -> dict[str, Any]:
        """The prompts of one answer, and its text."""
        reply, share, whole = self._ask(question, seed=seed)
        new = self._read(reply)
        if share < 1 and n_history:
            self._shortened.append((_part(n_history, share), n_history))
        return {"prompts": list(new if whole or len(new) == 1 else new[:-1]), "raw": reply.text}  # the last of a cut answer is half a prompt

    def _read(self, reply: Reply) -> tuple[str, ...]:
        """The prompts of an answer."""
        read = parse_prompts(reply.text)
        if reply.refused and not read.listed:  # a list in which somebody "can't see the shore" is none
            raise CallFailed(f"{self.name} refused to write prompts ({_start(reply.text)})", kind="refused")
        if not read.prompts:
            raise CallFailed(f"{self.name} answered nothing that can be read as a prompt ({_start(reply.text)})", kind="broken")
        return read.prompts

    def _ask(self, question: Callable[[float], str], *, seed: int, system: str = SYSTEM) -> tuple[Reply, float, bool]:
        """(the answer, which share of the history could be shown, whether the answer came to its end).

        Args:
            question: share of the history -> text.
        """
        sampling = Sampling(self._temperature, self._top_p, seed % SEEDS) if self._temperature else None
        share, tokens, step = 1.0, self._max_tokens, 0
        while True:
            request = ChatRequest(question(share), system=system, sampling=sampling)
            try:
                reply = self.model.ask([request], max_tokens=tokens)[0]
                return reply, share, reply.completion_tokens < tokens
            except NoAnswer as error:
                if error.kind != "too long":
                    raise self._failed(error) from None
                if tokens // 2 < LEAST_TOKENS and share == 0:
                    raise BeholderError(f"{error}; not even one prompt without any history fits") from None
            # by turns half the answer and half the history: whatever of the two was too much, little is given up of the other
            if tokens // 2 >= LEAST_TOKENS and step % 2 == 0:
                tokens //= 2
            else:
                share = share / 2 if share > 0.05 else 0.0
            step += 1

    def _failed(self, error: NoAnswer) -> BeholderError:
        """What the search should make of a question without an answer."""
        if error.kind == "broken" and not self.model.usage.calls:
            return BeholderError(str(error))  # nothing there has ever been a chat model: the URL is wrong
        return CallFailed(str(error).removesuffix(f": {GOES_ON}"), kind=error.kind)  # the search says so itself, and names the folder


def instruction(goal: str, *, n: int, history: Sequence[Shown], before: Sequence[str] = (), max_words: int) -> str:
    """What a model is asked: goal, rules, what was tried with its score (three decimals, best first, as MILS shows it), how many are wanted.

    Args:
        before: prompts that it wrote in this call already.
    """
    text = (
        f"Describe this picture in other words, so that an image made from the description is liked more.\n\nGoal: {goal}\n\n"
        f"People with tastes of their own rate the images.\n\n"
        f"Rules:\n"
        f"- Each prompt shows the subject of the goal, nothing else instead of it. Free to choose are light, colours, composition, viewpoint, "
        f"surroundings, mood, medium and style.\n"
        f"- Each prompt has fewer than {max_words} words and can be understood alone.\n"
        f"- One prompt on each line, numbered from 1. Neither titles nor scores nor explanations.\n"
    )
    if history:
        tried = "\n".join(f"{one.score:.3f}: {' '.join(one.prompt.split())}" for one in history)
        text += f"\nTried before, with the rating of the images (higher is better), best first:\n{tried}\n"
        text += "\nFind out what sets the better ones apart. Go further that way, and try something new now and then. Repeat none of them.\n"
    if before:
        text += "\nYou wrote these already; do not repeat them:\n" + "\n".join(f"- {prompt}" for prompt in before) + "\n"
    return text + f"\nWrite {n} new {'prompt' if n == 1 else 'prompts'} for this goal: {goal}"  # small models go by the last line


def _own(name: str) -> Writer:
    """An instance of somebody's class."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if not error.name or not module.startswith(error.name):
            raise  # a dependency of it is missing
        found = None
    if not (isinstance(found, type) and issubclass(found, Writer)):
        raise BeholderError(f"{name} is not a writer: give module:Class of a class derived from beholder.steering.base.Writer")
    return found()


def _part(count: int, share: float) -> int:
    return round(count * share)


def _derived(seed: int, number: int) -> int:
    """The seed of a further question of the same call; that of the first is the call's own."""
    return seed if number == 0 else int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest(), "big") % SEEDS


def _start(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:80] + ("..." if len(text) > 80 else "")) if text else "without a word"
