"""How fast P-MLLM trains, and that nothing is lost for it.   python benchmarks/pmllm_training.py [--profile 250] [--batch-size 8,24] [--quick]

Two ways to the same gradient on the same examples:

    shared prefix    as beholder trains: keys and values of each profile are computed once, only question and answer carry gradient
    plain            whole conversations, profile included, through all blocks with gradient. The vocabulary is looked at only where the
                     answer stands, as with the shared prefix; transformers' own loss would look at it everywhere and be slower still

Both take turns in rounds; medians. First, in float64 and on a few examples, how far the gradients of the two are apart.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from pmllm_world import WIDTH, examples, image_tokens, profile_texts, seconds

from beholder.backbones.language_model import DEFAULT_LANGUAGE_MODEL, load_language_model
from beholder.scorers.pmllm.batches import Batch, Batches, PrefixStore
from beholder.scorers.pmllm.config import FusionConfig, PromptConfig
from beholder.scorers.pmllm.loss import Step
from beholder.scorers.pmllm.model import PMLLM
from beholder.scorers.pmllm.prompts import Prompter
from beholder.scorers.pmllm.recipes import Training
from beholder.scorers.pmllm.sampler import BatchSampler

PROMPTS = {
    "published": PromptConfig(),
    "short": PromptConfig(persona="short", question="short", asked=None, low=1, high=7),
    "plain": PromptConfig(layout="plain", persona="short", question="brief", asked=None, low=1, high=7),
}
RATERS, IMAGES = 8, 32


class World:
    """A model, its examples, and both ways to a loss."""

    def __init__(self, *, language_model: str, prompt: str, profile: int, dtype: str) -> None:
        language = load_language_model(language_model, dtype=dtype)
        self.prompter = Prompter(language, config=PROMPTS[prompt])
        torch.manual_seed(0)
        self.model = PMLLM(language, image_width=WIDTH, config=FusionConfig())
        if dtype == "float64":
            self.model.double()
        tokens, good = image_tokens(IMAGES)
        if dtype == "float64":
            tokens = tokens.astype(np.float64)
        self.profiles = profile_texts(self.prompter, RATERS, tokens=profile)
        question = self.prompter.question(asked=False)
        self.prefixes = PrefixStore(self.model, self.prompter)
        self.batches = Batches(
            examples(self.profiles, good, question=question),
            prompter=self.prompter,
            prefixes=self.prefixes,
            features=lambda which: tokens[which],
        )
        self.step = Step(self.model, readout=None, config=Training())

    def batch(self, size: int, number: int) -> tuple[Batch, list[str]]:
        """A batch as the shipped recipe draws it, and the profile text of each row."""
        sampler = BatchSampler(self.batches.examples, batch_size=size, mode="crossed", raters_per_batch=min(RATERS, size))
        rows = sampler.batch(0, number % sampler.steps_per_epoch)
        return self.batches(rows), [self.profiles[rater] for rater in self.batches.examples.rater[rows]]

    def shared(self, batch: Batch, texts: list[str]) -> None:
        self.step(batch)[0].backward()

    def plain(self, batch: Batch, texts: list[str]) -> None:
        device = batch.tokens.device
        before = [self.prompter.prefix(text) for text in texts]
        n, s = batch.tokens.shape
        longest = max(map(len, before))
        tokens = torch.full((n, longest + s), self.prompter.language_model.padding, dtype=torch.long, device=device)
        places = torch.empty(n, s, dtype=torch.long, device=device)
        for row, ids in enumerate(before):
            tokens[row, : len(ids)] = torch.tensor(ids, device=device)
            tokens[row, len(ids) : len(ids) + s] = batch.tokens[row]
            places[row] = torch.arange(len(ids), len(ids) + s, device=device)
        mask = torch.zeros_like(tokens, dtype=torch.bool).scatter(1, places, True)
        seen = torch.arange(longest + s, device=device)[None] <= places[:, -1:]
        images = self.model.image_tokens(batch.features).rows(batch.image)
        with self.model.seeing(images, mask=mask):
            hidden = self.model.language.model(input_ids=tokens, attention_mask=seen.long(), use_cache=False).last_hidden_state
        hidden = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
        self.step.of_hidden(hidden, batch)[0].backward()

    def gradients(self, way, batch: Batch, texts: list[str]) -> dict[str, torch.Tensor]:
        self.model.zero_grad(set_to_none=True)
        way(batch, texts)
        return {name: parameter.grad.clone() for name, parameter in self.model.named_parameters()}


def check(world: World, *, size: int) -> None:
    """Print the largest difference of the two gradients, relative to the largest entry of each tensor."""
    batch, texts = world.batch(size, 0)
    shared, plain = (world.gradients(way, batch, texts) for way in (world.shared, world.plain))
    worst = {name: float((shared[name] - plain[name]).abs().max() / plain[name].abs().max()) for name in plain}
    name = max(worst, key=worst.get)
    print(f"gradients in {next(iter(plain.values())).dtype}, {size} examples: largest relative difference {worst[name]:.1e} ({name})", flush=True)


def compare(world: World, *, size: int, rounds: int) -> None:
    """Time both ways in turns and print a row of the table."""
    took = {"shared": [], "plain": []}
    once = seconds(lambda: world.prefixes(world.profiles))[0] / RATERS
    for turn in range(rounds + 1):
        batch, texts = world.batch(size, turn)
        for name, way in (("shared", world.shared), ("plain", world.plain)):
            world.model.zero_grad(set_to_none=True)
            duration = seconds(lambda way=way, batch=batch, texts=texts: way(batch, texts))[0]
            if turn:  # the first one does not count
                took[name].append(duration)
    ratio = statistics.median(b / a for a, b in zip(took["shared"], took["plain"], strict=True))
    shared, plain = (size / statistics.median(took[name]) for name in ("shared", "plain"))
    print(f"| {size} | {batch.tokens.shape[1]} | {shared:.2f} | {plain:.2f} | {ratio:.2f} | {once * 1e3:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language-model", default=DEFAULT_LANGUAGE_MODEL)
    parser.add_argument("--dtype", default="auto", help="of the language model, in the timing")
    parser.add_argument("--prompt", choices=PROMPTS, default="published")
    parser.add_argument("--profile", type=int, default=250, help="tokens before the question")
    parser.add_argument("--batch-size", default="8,24")
    parser.add_argument("--check", type=int, default=4, help="examples of the comparison in float64; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    sizes = [int(size) for size in options.batch_size.split(",")]
    if options.quick:
        options.check, options.rounds, sizes = 2, 1, [4]
        options.profile = min(options.profile, 80)
    if options.threads:
        torch.set_num_threads(options.threads)
    common = {"language_model": options.language_model, "prompt": options.prompt, "profile": options.profile}
    if options.check:
        check(World(**common, dtype="float64"), size=options.check)
    world = World(**common, dtype=options.dtype)
    language = world.model.language_model
    print(f"{language.name}, {language.dtype}, {language.device}, {torch.get_num_threads()} threads; profiles of {options.profile} tokens\n")
    print("| batch | tokens of question and answer | shared prefix, examples/s | plain, examples/s | ratio | ms once a profile |")
    print("|---|---|---|---|---|---|")
    for size in sizes:
        compare(world, size=size, rounds=options.rounds)


if __name__ == "__main__":
    main()
