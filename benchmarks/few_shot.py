"""How much the kept beginning saves `few-shot`.   python benchmarks/few_shot.py [--model NAME] [--examples 10] [--images 20] [--quick]

For one rater with so many examples, images per second of

    plain     every conversation from its first token, as the published scripts do it
    kept      the examples once, then every image after their keys and values (the examples are counted, too)

Both answer with `--new-tokens` words, in batches of `--batch`, and take turns in rounds, so that other work on the machine slows down both; medians
over the rounds. Then the largest difference between their logits. Preparing the pixels is not timed: both need it alike, the plain way more often.

Without --model, a random Qwen2.5-VL: width 256, 8 blocks, 256 tokens an image. What it answers means nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import string
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from beholder.backbones.vlm import open_vlm, prompts
from beholder.backbones.vlm.answers import Answerer
from beholder.backbones.vlm.base import Turn, VisionLanguageModel

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIDE = 256  # pixels of an image: 16 x 16 tokens of 2 x 2 patches of 8 pixels


def random_model(folder: Path, *, width: int, blocks: int) -> str:
    """A Qwen2.5-VL with about one token for each word of the prompts, as real ones have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    texts = [prompts.FEW_SHOT_INTRO, prompts.FEW_SHOT_EXAMPLE, prompts.FEW_SHOT_QUESTION, *prompts.PROMPTS.values(), string.printable]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(texts * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=SPECIAL[0], eos_token="<|im_end|>", additional_special_tokens=list(SPECIAL)
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    marks = {
        "image_token_id": "image_pad",
        "video_token_id": "video_pad",
        "vision_start_token_id": "vision_start",
        "vision_end_token_id": "vision_end",
    }
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for name, mark in marks.items()}
    head = width // 8
    text = {
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": blocks,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32768,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [head // 4, head // 8, head // 8]},
    }
    vision = {"depth": 4, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2}
    vision |= {"window_size": 64, "fullatt_block_indexes": [3], "out_hidden_size": width}
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.06)  # else all logits are about 0, and so is their difference
    model.save_pretrained(folder)
    pixels = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 8,
        "merge_size": 2,
        "size": {"shortest_edge": 1024, "longest_edge": SIDE**2},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return str(folder)


def conversations(vlm: VisionLanguageModel, *, examples: int, images: int, seed: int) -> list[Turn]:
    """Questions about so many images after the same examples."""
    rng = np.random.default_rng(seed)

    def prepared():
        return vlm.prepare(Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)))

    parts = [prompts.FEW_SHOT_INTRO]
    for number in range(1, examples + 1):
        parts += [prepared(), prompts.FEW_SHOT_EXAMPLE.format(number=number, score=rng.uniform(1, 5))]
    return [vlm.turn([*parts, prepared(), prompts.FEW_SHOT_QUESTION], reply=True) for _ in range(images)]


def compare(vlm: VisionLanguageModel, options: argparse.Namespace) -> None:
    """Both ways in turns, and what they took."""
    vlm.load()
    answerer = Answerer(vlm, max_new_tokens=options.new_tokens, rows=options.batch)
    taken: dict[str, list[float]] = {"plain": [], "kept": []}
    differences, spreads, sizes = [], [], []
    for round_ in range(options.rounds):
        turns = conversations(vlm, examples=options.examples, images=options.images, seed=round_)
        order = list(taken) if round_ % 2 else list(taken)[::-1]
        for way in order:
            start = time.perf_counter()
            list(answerer.answers(turns, prefix=answerer.keep(turns[0]) if way == "kept" else None))
            taken[way].append(time.perf_counter() - start)
        prefix = answerer.keep(turns[0])
        sizes.append((len(turns[0].ids), len(prefix)))
        logits = answerer.logits(turns[:2])
        spreads.append(float(logits.std()))
        differences.append(float((logits - answerer.logits(turns[:2], prefix=prefix)).abs().max()))
    ratio = statistics.median(plain / kept for plain, kept in zip(taken["plain"], taken["kept"], strict=True))
    tokens, shared = sizes[0]
    print(
        f"{options.model or 'a random Qwen2.5-VL'}, {vlm.dtype_name} on {vlm.device}: {tokens} tokens, {shared} of them shared; {options.images} images, {options.examples} examples"
    )
    for way, seconds in taken.items():
        print(f"{way:8}{options.images / statistics.median(seconds):8.2f} images/s")
    print(f"kept / plain: {ratio:.1f} times as fast (rounds {', '.join(f'{p / k:.1f}' for p, k in zip(*taken.values(), strict=True))})")
    print(f"largest difference of logits: {max(differences):.1e} (their standard deviation: {statistics.median(spreads):.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of a known family; a random one if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--images", type=int, default=20, help="asked about per rater and round")
    parser.add_argument("--batch", type=int, default=4, help="images answered together")
    parser.add_argument("--new-tokens", type=int, default=4, help="of an answer at most; a number takes two to four")
    parser.add_argument("--width", type=int, default=256, help="of the random model")
    parser.add_argument("--blocks", type=int, default=8, help="of the random model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.examples, options.images, options.rounds, options.blocks = 2, 2, 1, 2
    with tempfile.TemporaryDirectory() as folder:
        name = options.model or random_model(Path(folder), width=options.width, blocks=options.blocks)
        compare(open_vlm(name, device=options.device, dtype=options.dtype), options)


if __name__ == "__main__":
    main()
