"""Random Llamas of the real class with real byte-level tokenizers, small enough for tests, and worlds to train P-MLLM on."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from beholder.personas import questions

IMAGE_WIDTH, IMAGE_TOKENS = 16, 5
CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant named Tiny<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# A system turn with the date in any case, as that of Llama 3.1
HEADERS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% else %}{% set said = '' %}{% endif %}"
    "{{ '<|start|>system<|end|>\\n\\nToday Date: ' + date_string + '\\n\\n' + said + '<|turn|>' }}"
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] + '<|turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\\n\\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ bos_token }}{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + message['content'] + '<|turn|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|start|>", "<|end|>", "<|turn|>"]


def _corpus():
    for family in ("published", "short"):
        for attribute in questions.attributes():
            question = questions.scoring(family, attribute)
            yield question.text
            yield question.answered(question.high)
    yield from questions.SUBJECTIVE
    yield "age 30; likes red; likes blue; gender female; openness 7; neuroticism 3 system user assistant Today Date helpful"


@functools.cache
def tokenizer(template: str | None = CHATML, *, ten: bool = False, bos: str | None = None):
    """Byte-level BPE that reads back any text; digits one token each, but "10" a whole one with `ten`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    numbers = r"10|\d" if ten else r"\d"
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(numbers), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    corpus = list(_corpus()) * 2 + ["10"] * 99
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    if bos is None:
        bos = "<|im_start|>" if template == CHATML else "<|begin|>"
    end = "<|im_end|>" if template == CHATML else "<|turn|>"
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<|pad|>", bos_token=bos or None, eos_token=end)
    made.chat_template = template
    return made


def llama(*, seed: int = 0, dtype: str = "float32", spread: float = 0.15, tokens=None, **sizes):
    """A frozen random LanguageModel: 3 blocks, width 64, 4 query heads and 2 key/value heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from beholder.backbones.language_model import LanguageModel

    tokens = tokens or tokenizer()
    given = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"vocab_size": len(tokens), "bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": 0}
    config = LlamaConfig(**(given | ends | {"max_position_embeddings": 1024, "initializer_range": spread, "tie_word_embeddings": True} | sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for name, parameter in model.named_parameters():
            if "norm" in name:  # else they are all one, and taking the wrong one would go unnoticed
                parameter.data.uniform_(0.5, 1.5)
    model = model.to(getattr(torch, dtype))
    if dtype == "float64":
        _normalise_exactly(model)
    model = model.eval().requires_grad_(False)
    return LanguageModel("tiny", f"tiny-{seed}", model, tokens, "cpu")


def _normalise_exactly(model):
    """transformers' Llama normalises in float32 whatever its type: differences of 1e-16 before it may become 1e-8. torch's own does not."""
    import torch

    for parent in [module for module in model.modules() if any(name.endswith("norm") for name, _ in module.named_children())]:
        for name, norm in list(parent.named_children()):
            if name.endswith("norm"):
                exact = torch.nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon, dtype=torch.float64)
                exact.weight.data.copy_(norm.weight.data)
                setattr(parent, name, exact)


def pmllm(language_model=None, *, seed: int = 1, double: bool = False, wake: float = 0.3, **config):
    """A PMLLM on random weights; scalar gates and low-rank parts, which start at 0, are moved off it by `wake`."""
    import torch

    from beholder.scorers.pmllm.config import FusionConfig
    from beholder.scorers.pmllm.model import PMLLM

    language_model = language_model or llama(dtype="float64" if double else "float32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PMLLM(language_model, image_width=IMAGE_WIDTH, config=FusionConfig(**({"layers": 2} | config)))
        if wake:
            for name, parameter in model.named_parameters():
                if not parameter.any() or name.endswith("gate"):
                    parameter.data.normal_(std=wake)
    return model.double() if double else model


def features(n: int, *, seed: int = 0, tokens: int = IMAGE_TOKENS):
    """[n, tokens, IMAGE_WIDTH] float32 random image tokens."""
    return np.random.default_rng(seed).standard_normal((n, tokens, IMAGE_WIDTH)).astype(np.float32)


def examples(profiles, answers, *, question, raters=None):
    """Training examples: answers [n_raters, n_images] are integers of the question; missing ones are negative."""
    from beholder.scorers.pmllm.example_table import Example, Examples

    rows = [
        Example("piaa", r, i, question, question.answered(int(answers[r][i])), int(answers[r][i]), "ratings")
        for r, i in itertools.product(range(len(answers)), range(len(answers[0])))
        if answers[r][i] >= 0
    ]
    return Examples.of(rows, profiles=profiles)


def small_training(folder, *, progress=None, model=None, question=None, answers=None, dropout=0.0, **changes):
    """Trains a P-MLLM on 4 raters x 9 images; returns (model, log). The same for the same arguments, in any process."""
    from beholder.personas.questions import scoring
    from beholder.scorers.pmllm.batches import Batches, PrefixStore
    from beholder.scorers.pmllm.config import PromptConfig
    from beholder.scorers.pmllm.loss import Step
    from beholder.scorers.pmllm.prompts import Prompter
    from beholder.scorers.pmllm.recipes import Training
    from beholder.scorers.pmllm.training import train

    model = model or pmllm(wake=0)
    config = Training(**({"batch_size": 8, "steps": 10, "learning_rate": 3e-3, "warmup": 2, "log_every": 1, "save_every": 3} | changes))
    prompter = Prompter(model.language_model, config=PromptConfig(persona="short", question="short", asked=None, low=1, high=5))
    question = question or scoring("short").on(1, 5)
    answers = np.random.default_rng(3).integers(1, 6, (4, 9)) if answers is None else answers
    expects = bool(config.expectation or config.contrast)
    image_tokens = features(9)
    batches = Batches(
        examples(["age 30", "likes red; openness 7", "", "gender female; age 30"], answers, question=question),
        prompter=prompter,
        prefixes=PrefixStore(model, prompter, together=1),
        features=lambda which: image_tokens[which],
        expects=expects,
        dropout=dropout,
    )
    step = Step(model, readout=prompter.readout(question) if expects else None, config=config)
    return model, train(step, batches, config=config, folder=folder, identity="small", progress=progress)
