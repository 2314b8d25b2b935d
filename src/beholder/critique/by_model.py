"""A critique in the words of a model that sees: progressive questions, as people were asked for AesFeedback (arXiv 2404.09624, section 3). The prompt is ours."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from beholder.backbones.chat import ChatModel, ChatRequest, NoAnswer, Reply
from beholder.critique.base import SECTIONS, Critique, PersonalView, Section
from beholder.critique.section_texts import read_sections
from beholder.errors import BeholderError
from beholder.rater import Rater

PROMPT = "1"  # another one whenever the texts below change
MAX_TOKENS = 900  # eight sections of up to three sentences
LEAST_TOKENS = 200
SYSTEM = "You teach photography. You tell people kindly and honestly what works in an image and what does not, and you only speak of what can be seen in it."
QUESTIONS = {
    "overall": "How beautiful is the image as a whole, and what decides that most?",
    "composition": "How is the frame arranged: where does the main thing stand, what balances it, where is the eye led, what would better be left out?",
    "colour": "Which colours are there, do they belong together, are they too strong or too pale?",
    "light": "Where does the light come from, is it soft or hard, is anything too bright or too dark?",
    "focus": "What is sharp and what is blurred, does that seem intended, is there noise or motion blur?",
    "subject": "What is shown, how interesting is it, is the moment or the viewpoint well chosen?",
    "feeling": "What may somebody feel who looks at it, and what in the image makes them feel so?",
    "suggestion": "Which one change, while taking or while editing it, would help most?",
}


class Refused(BeholderError):
    """The model will not speak about this image; another image, or another model, may do."""


class Unreadable(BeholderError):
    """What the model answered is no critique; another image, or another model, may do."""


def critique(
    image: str | os.PathLike, *, chat: ChatModel, rater_text: str = "", stream: Callable[[str], None] | None = None, personal: PersonalView | None = None
) -> Critique:
    """Ask for all sections at once, then once more for those that are missing; `notes` names what is missing then.

    Args:
        chat: a model that sees. Its name says where the image goes: only to a URL that it names.
        rater_text: sentences about the person for whom the critique is, see `about_rater`; "" for nobody in particular.
        stream: called with the pieces of the answers as they come.
        personal: goes into the critique as it is.

    Raises:
        UnreadableImage: the image cannot be read.
        Refused, Unreadable: see there.
        NoAnswer, BeholderError: see `ChatModel.ask`; the model takes no images.
    """
    path = Path(image)
    reply = _answer(chat, ChatRequest(_question(SECTIONS, rater_text), system=SYSTEM, image=path), stream)
    found = read_sections(reply.text)
    if len(found) < 2 and reply.refused:
        raise Refused(f"{chat.name} refused to speak about {image} ({_start(reply.text)}): ask another model")
    notes = []
    if not found and reply.text.strip():
        found["overall"] = " ".join(reply.text.split())  # prose without headings, in whatever language
        notes.append(f"{chat.name} gave no sections: its answer as a whole stands under overall")
    missing = [name for name in SECTIONS if name not in found]
    if missing and found:  # the same question again would get the same answer
        again = _answer(chat, ChatRequest(_question(missing, rater_text), system=SYSTEM, image=path), stream)
        more = read_sections(again.text)
        if len(missing) == 1 and not more and again.text.strip() and not again.refused:
            more = {missing[0]: " ".join(again.text.split())}
        found |= {name: text for name, text in more.items() if name in missing}
    missing = [name for name in SECTIONS if name not in found]
    if not found:
        raise Unreadable(f"{chat.name} answered nothing that can be read as a critique of {image} ({_start(reply.text)}): ask another model")
    if missing:
        notes.append(f"{chat.name} said nothing of {', '.join(missing)}, although it was asked twice")
    if rater_text and is_url(chat.name):
        notes.append(f"what is known of the person was sent to {chat.name.partition('#')[0]} with the image")
    return Critique(
        image=os.fspath(image),
        sections={name: Section(name, found[name]) for name in SECTIONS if name in found},
        by=chat.name,
        version=f"{chat.version}/critique {PROMPT}",
        notes=tuple(notes),
        personal=personal,
    )


def is_url(name: str) -> bool:
    """Whether a chat model of this name is a server, so that photographs are sent there."""
    return bool(re.match(r"https?://", name.strip(), re.IGNORECASE))


def about_rater(rater: Rater, *, view: PersonalView | None = None) -> str:
    """Sentences about a rater for the prompt: the profile, what the rater weighs, and how many points are expected. The name is not among them."""
    sentences = [f"{_sentence(name)}: {value:g}" if isinstance(value, float) else f"{_sentence(name)}: {value}" for name, value in rater.profile.known().items()]
    text = f"What this person says of themselves: {'; '.join(sentences)}." if sentences else ""
    if view is not None and view.weighs:
        text += " What their ratings show: this person " + "; ".join(one.text.rstrip(".") for one in view.weighs) + "."
    if view is not None:
        text += f" From what is known, this person is expected to rate this image {view.score:.1f} on a scale of {view.scale} ({view.low:.1f} to {view.high:.1f})."
    return text.strip()


def _question(names: Sequence[str], rater_text: str) -> str:
    asked = "\n".join(f"{name}: {QUESTIONS[name]}" for name in names)
    example = ", ".join(f'"{name}": "..."' for name in names)
    text = f"Look at this image and answer these questions in this order, each in one to three sentences:\n\n{asked}\n\n"
    if rater_text:
        text += (
            f"The answers are for one person. {rater_text} Speak to this person as \"you\": say what of this image suits their taste and what does not, "
            f"without making up anything about them.\n\n"
        )
    return text + f"Answer with one JSON object and nothing else: {{{example}}}"


def _answer(chat: ChatModel, request: ChatRequest, stream: Callable[[str], None] | None) -> Reply:
    """The reply; a model with a short context may answer more briefly."""
    tokens = MAX_TOKENS
    while True:
        try:
            if stream is None:
                return chat.ask([request], max_tokens=tokens)[0]
            return _read_along(chat, request, stream, max_tokens=tokens)
        except NoAnswer as error:
            if error.kind != "too long" or tokens // 2 < LEAST_TOKENS:
                raise
            tokens //= 2


def _read_along(chat: ChatModel, request: ChatRequest, stream: Callable[[str], None], *, max_tokens: int) -> Reply:
    with closing(chat.stream(request, max_tokens=max_tokens)) as pieces:  # whoever reads along may stop: the model stops, too
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return end.value
            stream(piece)


def _sentence(name: str) -> str:
    """The name of a profile's field in words, with its range where a number would else say nothing."""
    traits = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism", "art_interest", "photography_interest")
    return name.replace("_", " ") + (" (1 to 10)" if name in traits else "")


def _start(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:80] + ("..." if len(text) > 80 else "")) if text else "without a word"
