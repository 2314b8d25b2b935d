"""How fast the closed-form questionnaire is answered.   python benchmarks/personas_speed.py [--personas 36] [--rounds 3] [--quick]

For personas that are formats of a few made-up profiles, item answers per second of

    generate       one prompt at a time: greedy `generate` with a key/value cache on the whole prompt, at most 4 new tokens; the integer is read from the text
    closed form    `ClosedForm`: all personas together

Both take turns in rounds, in one process with as many threads, so that other work on the machine slows down both; the ratio is the median over rounds, of
wall-clock time and of processor time. Then the time that the exhaustive search of all formats would take, and how often generated text held an integer.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from timing import timed

from beholder.backbones.language_model import DEFAULT_LANGUAGE_MODEL, LanguageModel, load_language_model
from beholder.personas.closed_form import HIGH, LOW, ClosedForm
from beholder.personas.inventory import Inventory, load_inventory
from beholder.personas.prompts import all_formats, render
from beholder.personas.questions import Question, parse_integer
from beholder.profile import BIG_FIVE, Profile

PROFILES = 10  # of the exhaustive search that is extrapolated to
NEW_TOKENS = 4


def personas(n: int, *, profiles: int, first: int = 0) -> list[str]:
    """n texts: formats that stand together in their order, from the `first` on, of each of some profiles."""
    random, formats = np.random.default_rng(0), all_formats()
    made = [Profile(**dict(zip(BIG_FIVE, random.integers(1, 11, 5).tolist(), strict=True))) for _ in range(profiles)]
    per = -(-n // profiles)
    return [render(profile, style=formats[(first + i) % len(formats)]) for profile in made for i in range(per)][:n]


def generated(language: LanguageModel, respondent: ClosedForm, pairs: list[tuple[str, str]]) -> list[int | None]:
    """Integers read from generated text, one (persona, statement) after the other."""
    question, found = Question("accuracy", "", "{integer}", LOW, HIGH), []
    for persona, statement in pairs:
        tokens = torch.tensor([language.encode(respondent.prompt(persona, statement))], device=language.device)
        with torch.inference_mode():
            made = language.model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                eos_token_id=language.stop,
                pad_token_id=language.padding,
            )
        found.append(parse_integer(language.tokenizer.decode(made[0, tokens.shape[1] :], skip_special_tokens=True), question))
    return found


def compare(language: LanguageModel, inventory: Inventory, texts: list[str], *, rounds: int, few: int, balanced: bool) -> None:
    respondent = ClosedForm(language, balanced=balanced)
    pairs = [(text, item.statement) for text in texts for item in inventory.items]
    order = np.random.default_rng(0).permutation(len(pairs))
    generated(language, respondent, pairs[:1])  # one of each that does not count
    respondent.answers(texts[:1], inventory)
    slow, quick, read = [], [], []
    for turn in range(rounds):
        some = [pairs[i] for i in np.take(order, range(turn * few, (turn + 1) * few), mode="wrap")]
        took, integers = timed(lambda some=some: generated(language, respondent, some))
        slow.append(took / len(some))
        read += integers
        quick.append(timed(lambda: respondent.answers(texts, inventory))[0] / len(pairs))
        print(f"  round {turn + 1}: generate {slow[-1][0] * 1e3:.0f} ms, closed form {quick[-1][0] * 1e3:.1f} ms an answer", flush=True)
    lengths = [len(language.encode(text)) for text in texts]
    print(f"\n{language.name}, {language.dtype}, {language.device}, {torch.get_num_threads()} threads; {'balanced, ' if balanced else ''}", end="")
    print(f"{len(texts)} personas of {min(lengths)} to {max(lengths)} tokens x {len(inventory.items)} items of {inventory.name}\n")
    print("| way | answers/s | answers per processor second |\n|---|---|---|")
    for way, found in (("generate", slow), ("closed form", quick)):
        print(f"| {way} | " + " | ".join(f"{1 / value:.2f}" for value in np.median(found, axis=0)) + " |")
    wall, processor = np.median(np.array(slow) / np.array(quick), axis=0)
    print(f"\nclosed form / generate: {wall:.1f} by the clock, {processor:.1f} by processor time")
    answers = len(all_formats()) * PROFILES * len(inventory.items)
    each = [statistics.median(found[:, 0]) for found in (np.array(slow), np.array(quick))]
    print(
        f"{len(all_formats())} formats x {PROFILES} profiles x {len(inventory.items)} items = {answers} answers: "
        f"{each[1] * answers / 60:.0f} minutes, by generation {each[0] * answers / 3600:.1f} hours"
    )
    print(f"generated texts with an integer: {sum(value is not None for value in read)} of {len(read)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language-model", default=DEFAULT_LANGUAGE_MODEL)
    parser.add_argument("--dtype", default="auto", help="of the language model")
    parser.add_argument("--personas", type=int, default=36, help="texts asked together")
    parser.add_argument("--profiles", type=int, default=1, help="that they are of; each in formats that stand together in the order of the search")
    parser.add_argument("--first-format", type=int, default=0, help="place among all formats, from 0 on")
    parser.add_argument("--inventory", default="mini-ipip")
    parser.add_argument("--generated", type=int, default=20, help="answers generated a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--balanced", action="store_true", help="ask with anchors in both orders")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.personas, options.generated, options.rounds = 2, 2, 1
    if options.threads:
        torch.set_num_threads(options.threads)
    texts = personas(options.personas, profiles=options.profiles, first=options.first_format)
    language = load_language_model(options.language_model, dtype=options.dtype)
    compare(language, load_inventory(options.inventory), texts, rounds=options.rounds, few=options.generated, balanced=options.balanced)


if __name__ == "__main__":
    main()
