"""From the name of a language model to somebody who answers inventories as a persona."""

from __future__ import annotations

import re
from typing import Literal, get_args

from beholder.errors import BeholderError
from beholder.personas.ledger import Respondent

Mode = Literal["closed", "open"]


def open_respondent(
    model: str,
    *,
    mode: Mode = "closed",
    rater: str | None = None,
    balanced: bool = False,
    device: str = "auto",
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    timeout: float = 120.0,
    keep: bool = True,
    answer_tokens: int | None = None,
    rating_tokens: int | None = None,
) -> Respondent:
    """A respondent by the name of its model.

    Args:
        model: an embedded LLM, a folder or hub repository, or "http(s)://host/v1#model".
        mode: "closed": Likert questions, read from the probabilities of a model on this machine (`ClosedForm`) or from the text of an endpoint (`ClosedChat`);
            "open": open questions and a rater LLM (`OpenEnded`).
        rater: the rater LLM of the mode open, in the same forms; the model itself if not given.
        balanced: see `ClosedForm`.
        device: of models on this machine.
        api_key_env, concurrency, timeout: of endpoints, see `open_chat_model`.
        keep: whether replies in words are kept on disk.
        answer_tokens, rating_tokens: of an open answer and of a number in words at most; models that think first need more.

    Raises:
        BeholderError: there is no such mode or model, or an option does not belong to this mode.
    """
    if mode not in get_args(Mode):
        raise BeholderError(f"there is no mode {mode!r}: choose one of {', '.join(get_args(Mode))}")
    remote = re.match(r"\s*https?://", str(model), re.IGNORECASE) is not None
    if rater is not None and mode == "closed":
        raise BeholderError("a rater reads open answers, and the mode closed has none: leave out the rater, or choose the mode open")
    if balanced and (mode == "open" or remote):
        raise BeholderError("balanced belongs to the mode closed of a model on this machine, whose probabilities it needs: leave it out here")
    lengths = {name: value for name, value in (("answer_tokens", answer_tokens), ("rating_tokens", rating_tokens)) if value is not None}
    read_in_words = ("answer_tokens", "rating_tokens") if mode == "open" else ("rating_tokens",) if remote else ()
    for name, value in lengths.items():
        if name not in read_in_words:
            raise BeholderError(f"{name} is of no use here, as nothing of that kind is answered in words: leave it out, or choose the mode open")
        if value < 1:
            raise BeholderError(f"{name} = {value} is too small: give 1 or more")
    if mode == "closed" and not remote:
        from beholder.backbones.language_model import NotLlama, load_language_model
        from beholder.personas.closed_form import ClosedForm

        try:
            language = load_language_model(model, device=device)
        except NotLlama as error:
            raise BeholderError(f"{error}, or ask this one in words with the mode open") from None
        return ClosedForm(language, balanced=balanced)
    from beholder.backbones.chat import open_chat_model
    from beholder.personas.open_ended import ClosedChat, OpenEnded

    options = {"api_key_env": api_key_env, "concurrency": concurrency, "timeout": timeout, "keep": keep, "device": device}
    asked = open_chat_model(model, **options)
    if mode == "closed":
        return ClosedChat(asked, **lengths)
    return OpenEnded(asked, asked if rater is None else open_chat_model(rater, **options), **lengths)
