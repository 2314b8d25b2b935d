"""How fast P-MLLM scores.   python benchmarks/pmllm_scoring.py [--weights DIR] [--photos DIR] [--quick]

For two forms of the prompt (the published one with a profile of 250 tokens; the short one, or that of the weights given), pairs of rater and
image per second of

    generate     transformers' `generate` on the whole conversation, as many pairs at once as given; the integer is read from the text
    engine       `ScoringEngine`, profiles and images not seen before; "warm": both known already
    limit        the bare language model's forward pass over the engine's question tokens: no profile, no image, no reading of scores

All take turns in rounds, so that other work on the machine slows down all of them; medians over the rounds. Then the share of pairs for which the
engine's integer is the one read from generated text, and the engine's time per pair for profiles of several lengths.

Without --weights, and for the published form in any case, the model is first taught for some minutes on made-up scores, as an untrained one
does not answer in the form asked for. Without --photos, image tokens are random.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pmllm_world import WIDTH, image_tokens, profile_texts, seconds, taught

from beholder import scorers
from beholder.backbones.language_model import DEFAULT_LANGUAGE_MODEL, load_language_model
from beholder.engine.source import Features
from beholder.folders import find_photos
from beholder.personas.questions import Question, parse_integer
from beholder.scorers.pmllm.config import FusionConfig, PromptConfig
from beholder.scorers.pmllm.engine import ScoringEngine
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import Prompter
from beholder.scorers.pmllm.scorer import PMLLMScorer

PUBLISHED = PromptConfig()
SHORT = PromptConfig(persona="short", question="short", asked=None, low=1, high=7)
BATCHES = (1, 4, 8, 16, 32)
LENGTHS = (30, 120, 250, 500)
SPARE = 8  # tokens that an answer in a conversation may have beyond the longest that is asked for; a plain line ends the answer by itself


@dataclass
class Setting:
    """A model, its prompt, and pairs to score.

    Args:
        profiles: [r] texts. features: [m, t, width]; every rater is asked about every image.
        seconds: per pair, of each way, one entry per round.
    """

    title: str
    model: PMLLM
    prompter: Prompter
    profiles: list[str]
    features: np.ndarray
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def question(self) -> Question:
        return self.prompter.question()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(rater, image) of all, raters mixed."""
        every = [(r, i) for r in range(len(self.profiles)) for i in range(len(self.features))]
        return [every[place] for place in np.random.default_rng(0).permutation(len(every))]

    def took(self, way: str, duration: float, *, pairs: int) -> None:
        self.seconds.setdefault(way, []).append(duration / pairs)

    def per_second(self, way: str) -> float:
        return 1 / statistics.median(self.seconds[way])

    def ratio(self, way: str, other: str) -> float:
        """Median over rounds of how many times faster `way` is than `other`."""
        return statistics.median(b / a for a, b in zip(self.seconds[way], self.seconds[other], strict=True))

    def engine(self) -> ScoringEngine:
        return ScoringEngine(self.model, self.prompter, question=self.question)

    def scored(self, engine: ScoringEngine, profiles: list[str] | None = None) -> np.ndarray:
        """[r, m] integers."""
        everything = np.arange(len(self.features))
        return np.stack([found.integer for found in engine.score([(text, everything) for text in profiles or self.profiles], self.features)])

    def bare(self, engine: ScoringEngine) -> None:
        """The forward passes that the engine needs at least."""
        language, left = self.model.language.model, len(self.profiles) * len(self.features)
        tokens = torch.tensor(engine.readout.tokens, device=self.model.language_model.device)
        with torch.inference_mode():
            while left > 0:
                language(input_ids=tokens.expand(min(left, engine.pairs_together), -1), use_cache=False)
                left -= engine.pairs_together

    def generated(self, pairs: list[tuple[int, int]], *, at_once: int) -> list[int | None]:
        """Integers read from generated text."""
        prompter, language, question = self.prompter, self.model.language_model, self.question
        asked = prompter.asking(question.text)
        longest = max(len(prompter.answering(question.answered(integer))) for integer in question.integers)
        longest += SPARE if prompter.config.layout == "chat" else 0
        found = []
        for start in range(0, len(pairs), at_once):
            some = pairs[start : start + at_once]
            prefixes = [prompter.prefix(self.profiles[rater]) for rater, _ in some]
            tokens, attention = language.left_padded([ids + asked for ids in prefixes])
            mask = torch.zeros_like(tokens, dtype=torch.bool)
            mask[:, -len(asked) :] = True
            with torch.inference_mode():
                images = self.model.image_tokens(torch.from_numpy(self.features[[image for _, image in some]]).to(language.device))
                made = self.model.generate(
                    tokens,
                    images=images,
                    mask=mask,
                    attention_mask=attention,
                    max_new_tokens=longest,
                )
            texts = language.tokenizer.batch_decode(made[:, tokens.shape[1] :], skip_special_tokens=True)
            found += [parse_integer(text.partition("\n")[0], question) for text in texts]
        return found


def compare(setting: Setting, *, rounds: int, batches: tuple[int, ...], few: int) -> None:
    """Time all ways in turns, print the table and the share of equal integers."""
    integers, read = setting.scored(setting.engine()), {}
    setting.generated(setting.pairs[: max(batches)], at_once=max(batches))  # one that does not count
    total = integers.size
    for turn in range(rounds):
        for at_once in batches:
            start = turn * few % max(1, len(setting.pairs) - max(few, at_once))  # other pairs each round
            pairs = setting.pairs[start : start + max(few, at_once)]
            duration, found = seconds(lambda pairs=pairs, at_once=at_once: setting.generated(pairs, at_once=at_once))
            setting.took(f"generate, {at_once} at once", duration, pairs=len(pairs))
            read |= {(at_once, pair): integer for pair, integer in zip(pairs, found, strict=True)}
        engine = setting.engine()
        setting.took("engine", seconds(lambda engine=engine: setting.scored(engine))[0], pairs=total)
        setting.took("engine, warm", seconds(lambda engine=engine: setting.scored(engine))[0], pairs=total)
        setting.took("limit", seconds(lambda engine=engine: setting.bare(engine))[0], pairs=total)
        print(f"  round {turn + 1}: " + ", ".join(f"{way} {values[-1] * 1e3:.1f} ms" for way, values in setting.seconds.items()), flush=True)

    language, engine = setting.model.language_model, setting.engine()
    lengths = [len(setting.prompter.prefix(text)) for text in setting.profiles]
    print(f"\n{setting.title}: {language.name}, {language.dtype}, {language.device}, {torch.get_num_threads()} threads")
    print(
        f"{len(setting.profiles)} profiles of {min(lengths)} to {max(lengths)} tokens x {len(setting.features)} images, "
        f"{len(engine.readout.tokens)} tokens of question and answer a pair, {engine.pairs_together} pairs a forward pass\n"
    )
    print("| way | pairs/s | engine / it | share of the limit |\n|---|---|---|---|")
    for way in setting.seconds:
        print(f"| {way} | {setting.per_second(way):.1f} | {setting.ratio('engine', way):.2f} | {setting.ratio(way, 'limit'):.0%} |")
    equal = sum(integer == integers[rater, image] for (_, (rater, image)), integer in read.items())
    silent = sum(integer is None for integer in read.values())
    counts = Counter(integers.ravel().tolist())
    among = [a == b for (at, pair), a in read.items() for (other, same), b in read.items() if at < other and pair == same]
    print(f"\nsame integer: {equal} of {len(read)} generated texts ({equal / len(read):.1%}); texts without one: {silent}")
    # where it differs from itself, rounding decides: the type of the model, not the engine
    print(f"generate with two batch sizes on the same pair: {sum(among)} of {len(among)} alike ({sum(among) / max(1, len(among)):.1%})")
    print(f"integers given: {', '.join(f'{value} x {counts[value]}' for value in sorted(counts))}", flush=True)


def lengths(setting: Setting, *, rounds: int, sizes: tuple[int, ...]) -> None:
    """Time per pair, profiles known, by length of the profile."""
    engine, raters = setting.engine(), len(setting.profiles)
    texts = {size: profile_texts(setting.prompter, raters, tokens=size, seed=1) for size in sizes}
    first, warm = {}, {size: [] for size in sizes}
    for size, profiles in texts.items():
        first[size] = seconds(lambda profiles=profiles: engine.prefixes(profiles))[0] / raters
        setting.scored(engine, profiles)
    for _ in range(rounds):
        for size, profiles in texts.items():
            warm[size].append(seconds(lambda profiles=profiles: setting.scored(engine, profiles))[0] / raters / len(setting.features))
    print("\n| tokens before the question | ms a pair | to the shortest | ms once a profile |\n|---|---|---|---|")
    for size, profiles in texts.items():
        ratio = statistics.median(a / b for a, b in zip(warm[size], warm[sizes[0]], strict=True))
        measured = len(setting.prompter.prefix(profiles[0]))
        print(f"| {measured} | {statistics.median(warm[size]) * 1e3:.2f} | {ratio:.2f} | {first[size] * 1e3:.0f} |", flush=True)


def settings(options: argparse.Namespace):
    """The published form, then the small model's; one after the other, so that one model is in memory at a time."""
    tokens, width = image_tokens(options.images)[0], WIDTH
    features = None
    if options.photos is not None or options.weights is not None:
        name, encoder = options.scorer, options.encoder
        features = Features(scorers.encoder_for([name], encoder=encoder), layers=scorers.feature_layers(name, encoder=encoder))
    if options.photos is not None:
        photos = find_photos([options.photos]).photos[: options.images]
        reader = PMLLMScorer(features=features)
        tokens, width = reader.tokens([str(photo) for photo in photos]), reader.token_width
    for title, config, length in (("published prompt", PUBLISHED, 250), ("short prompt", SHORT, 60)):
        if title.startswith("published") or options.weights is None:
            language = load_language_model(options.language_model, dtype=options.dtype)
            prompter = Prompter(language, config=config)
            torch.manual_seed(0)
            model = PMLLM(language, image_width=width, config=FusionConfig())
            print(f"{title}: teaching for {options.teach} steps", flush=True)
            taught(model, prompter, question=prompter.question(), steps=options.teach)
        else:
            scorer = scorers.make(options.scorer, features=features, weights=options.weights)
            model, prompter, title = scorer._model, scorer.prompter, f"prompt of {options.weights}"
        yield Setting(title, model, prompter, profile_texts(prompter, options.raters, tokens=length), tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="of a trained scorer; its own prompt is the second form then")
    parser.add_argument("--scorer", default="pmllm", help="of these weights")
    parser.add_argument("--encoder", default="efficientnet-lite0", help="of these weights and photographs")
    parser.add_argument("--photos", type=Path, help="a folder of photographs; random tokens if not given")
    parser.add_argument("--language-model", default=DEFAULT_LANGUAGE_MODEL)
    parser.add_argument("--dtype", default="auto", help="of the language model")
    parser.add_argument("--raters", type=int, default=4)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--generated", type=int, default=16, help="pairs generated a round at each batch size (or the batch, if larger)")
    parser.add_argument("--teach", type=int, help="steps; 60 if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    batches, sizes = BATCHES, LENGTHS
    if options.quick:
        options.raters, options.images, options.generated, options.rounds = 2, 6, 2, 1
        batches, sizes = (1, 4), (30, 120)
    options.teach = options.teach or (3 if options.quick else 60)
    if options.threads:
        torch.set_num_threads(options.threads)
    for setting in settings(options):
        compare(setting, rounds=options.rounds, batches=batches, few=options.generated)
        lengths(setting, rounds=options.rounds, sizes=sizes)
        print(flush=True)


if __name__ == "__main__":
    main()
