"""The published prompts, word for word, from the scripts of arXiv 2604.11374 (github.com/ynklab/vlm-latent-piaa): hidden states, words, few-shot, LoRA."""

from __future__ import annotations

# Scores in words are published on this scale; other scales are mapped to it and back.
SCORE_LOW, SCORE_HIGH = 1, 5

ATTRIBUTES = (
    "BalancingElements",
    "ColorHarmony",
    "Content",
    "DoF",
    "Light",
    "MotionBlur",
    "Object",
    "Repetition",
    "RuleOfThirds",
    "Symmetry",
    "VividColor",
)

PROMPTS = {
    "base": "Assess the aesthetics of this image.",
    "format": (
        "Assess the overall aesthetic quality of this image. Please rate it on a scale from 1 to 5. "
        "Output only the numeric score, and do not output any other text."
    ),
    # The scripts call two different texts "attributes": the one of the per-rater scripts is so named here, that of the projection "describe".
    "attributes": (
        "Assess the aesthetics of this image with respect to the following attributes: " + ", ".join(ATTRIBUTES) + ". "
        "You do not need to output the attributes explicitly; just use them as internal criteria."
    ),
    "describe": "Describe the aesthetic properties of this image.",
    "unrelated": "Describe the weather today in one sentence.",  # a control: nothing in it asks for aesthetics
}

FEW_SHOT_INTRO = (
    "You are an expert judge of image aesthetics.\n"
    "I will show you some example images with this user's ratings on a 1 to 5 scale.\n"
    "From these examples, infer the user's personal preferences.\n"
    "Then I will show you a new image; please predict this user's rating for it.\n\n"
    "For the examples, each rating is this user's own rating, already mapped to a 1 to 5 scale.\n"
    "When you answer for the final image, respond with a single number from 1 to 5, and nothing else.\n"
)
FEW_SHOT_EXAMPLE = "Example {number}: This user rated this image {score:.2f} out of 5."  # after its image; number from 1 on
FEW_SHOT_QUESTION = (
    "Now, based on the user's previous ratings, what is this user's rating for THIS image? "
    "Answer with a single number from 1 to 5, and do not output any other text."
)

LORA_DECIMAL = (  # answer: f"{score:.2f}"
    "You are an expert judge of image aesthetics.\n"
    "For each image, rate its overall visual aesthetic quality on a scale from 1.0 to 5.0.\n"
    "Respond with a single number (you may use a decimal like 3.5) and nothing else.\n"
    "Rate this image now."
)
LORA_INTEGER = (  # answer: the score rounded to an integer
    "You are an expert judge of image aesthetics.\n"
    "For each image, rate its overall visual aesthetic quality on a scale from 1 to 5.\n"
    "Respond with a single integer (1, 2, 3, 4, or 5) and nothing else.\n"
    "Rate this image now."
)


def prompt_text(prompt: str) -> str:
    """The text of a name of PROMPTS; any other text is its own."""
    return PROMPTS.get(prompt, prompt)
