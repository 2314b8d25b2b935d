"""Aesthetic descriptions (AesExpert, section 3.3): the questions of the feedback as instructions, what people said as answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from beholder.critique.aesmmit.feedback import QUESTIONS, SUGGESTION, Feedback
from beholder.critique.aesmmit.instructions import Instruction

WHOLE = "whole"
# The first of each is the question as people were asked it; the others ask the same in other words, so that a model does not learn one wording. Ours.
PHRASINGS: Mapping[str, tuple[str, ...]] = {
    "evaluation": (
        QUESTIONS["evaluation"],
        "What is your overall impression of the beauty of this image?",
        "How good-looking is this image?",
        "Give a short judgement of the aesthetics of this image.",
        "Would you call this image beautiful, average or unattractive?",
    ),
    "reasons": (
        QUESTIONS["reasons"],
        "Which aspects of this image raise or lower its aesthetic appeal?",
        "Explain your aesthetic judgement of this image by its clarity, colour, light, objects and composition.",
        "What are the reasons for the aesthetic quality of this image?",
        "What works in this image and what does not?",
    ),
    "feeling": (
        QUESTIONS["feeling"],
        "What feelings does this image convey, and how do they bear on its beauty?",
        "Describe the mood, the content and the point of view of this image.",
        "Which emotions does this image express?",
        "What does looking at this image feel like?",
    ),
    "suggestion": (
        SUGGESTION,
        "How could this image be improved?",
        "What should be done differently to make this image more appealing?",
        "Give advice to whoever made this image.",
    ),
    WHOLE: (
        "Describe the aesthetic experience of this image.",
        "Write a detailed aesthetic critique of this image.",
        "Judge the aesthetics of this image, give your reasons, and say what it makes you feel.",
        "Comment on this image as an experienced critic would.",
        "Assess this image from its overall beauty down to its details and its mood.",
    ),
}
# What each part says, in the words of AesVQA's dimensions; which part is which is our choice.
_DIMENSIONS = {"evaluation": "quality", "reasons": "attribute", "feeling": "emotion", "suggestion": "enhancement", WHOLE: "interpretation"}


def descriptions(feedback: Sequence[Feedback]) -> list[Instruction]:
    """One item for each answered question of each feedback, and one for all that was said (if that is more than one answer).

    Ids depend on the image, the subject and how many the same person has given before, not on the order of the images. Which phrasing asks depends
    on the id alone, so the same feedback always makes the same items.

    Returns:
        Items of type "description", in the order of the feedback.
    """
    made: list[Instruction] = []
    count: dict[tuple[str, str], int] = {}
    for one in feedback:
        number = count[one.image, one.subject] = count.get((one.image, one.subject), 0) + 1
        root = _digest(f"{one.image}\0{one.subject}\0{number}")
        parts = {name: getattr(one, name) for name in ("evaluation", "reasons", "feeling", "suggestion")}
        answers = {name: text for name, text in parts.items() if text}
        if len(answers) > 1:
            answers[WHOLE] = one.whole()
        for name, answer in answers.items():
            id = f"{root}-{name}"
            phrasings = PHRASINGS[name]
            made.append(
                Instruction(
                    id=id,
                    image=one.image,
                    turns=((phrasings[int(_digest(id), 16) % len(phrasings)], answer),),
                    type="description",
                    dimension=_DIMENSIONS[name],
                    subject=one.subject,
                    more=facts_of(one),
                )
            )
    return made


def facts_of(feedback: Feedback) -> dict[str, object]:
    """What an item keeps of its feedback besides the text: grade, source and dataset, where they are known."""
    given = {"grade": feedback.grade, "source": feedback.source, "dataset": feedback.dataset}
    return {name: value for name, value in given.items() if value}


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", errors="surrogatepass"), digest_size=6).hexdigest()
