"""How fast hidden states of a vision-language model are read.   python benchmarks/hidden_states.py [--images 12] [--rounds 5] [--folder DIR] [--quick]

On a random model in about the proportions of Qwen3-VL-4B at a tenth of its width (36 blocks of the decoder, 24 of the vision encoder, which takes about a
third of the whole time) and of its image tokens, images per second of

    plain      transformers: the whole model with output_hidden_states=True, and the mean over the text tokens of one of the states
    one layer  `HiddenStates` for LT15: it stops after 15 of the 36 blocks
    all        `HiddenStates` for every layer of every source

They take turns in rounds, in one process with as many threads, so that other work on the machine slows down all; the ratios are medians over rounds. The
images are prepared beforehand and computed one at a time; the features are compared in float32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from pictures import picture
from timing import timed

from beholder.backbones.vlm import open_vlm
from beholder.backbones.vlm.base import PreparedImage, VisionLanguageModel
from beholder.backbones.vlm.hidden_states import HiddenStates

LAYER = "LT15"
SIGNS = "".join(chr(code) for code in range(32, 127)) + "\n"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<unk>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_model(folder: Path, *, blocks: int, vision_blocks: int) -> None:
    """A random model of the real class, its tokenizer (one token a sign), template and image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text = {"hidden_size": 256, "intermediate_size": 976, "num_hidden_layers": blocks, "vocab_size": 15200, "rope_parameters": rope}
    text |= {"num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 32, "max_position_embeddings": 8192}
    vision = {"depth": vision_blocks, "hidden_size": 128, "intermediate_size": 416, "num_heads": 4, "patch_size": 16, "out_hidden_size": 256}
    vision |= {"deepstack_visual_indexes": [vision_blocks // 4, vision_blocks // 2, 3 * vision_blocks // 4], "num_position_embeddings": 2304}
    places = {f"{name}_token_id": SPECIAL.index(f"<|{mark}|>") for name, mark in (("image", "image_pad"), ("video", "video_pad"))}
    places |= {f"vision_{name}_token_id": SPECIAL.index(f"<|vision_{name}|>") for name in ("start", "end")}
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **places))
    model.save_pretrained(folder)
    inner = Tokenizer(models.WordLevel({sign: number for number, sign in enumerate([*SPECIAL, *SIGNS])}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"pad_token": SPECIAL[0], "eos_token": SPECIAL[2], "unk_token": "<unk>", "additional_special_tokens": list(SPECIAL)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    pixels = {"image_processor_type": "Qwen2VLImageProcessor", "size": {"shortest_edge": 65536, "longest_edge": 16777216}}
    pixels |= {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))


def plain(vlm: VisionLanguageModel, images: list[PreparedImage], prompt: str) -> np.ndarray:
    """[n, width]: the layer from what transformers returns for the whole model."""
    rows = []
    for image in images:
        with torch.inference_mode():
            batch = vlm.batch([vlm.turn([image, prompt])])
            states = vlm.model(**batch.inputs, output_hidden_states=True, use_cache=False).hidden_states
            rows.append(states[int(LAYER.removeprefix("LT"))][0][~batch.image_mask[0]].float().mean(0).cpu().numpy())
    return np.stack(rows)


def compare(folder: Path, *, n: int, rounds: int, size: tuple[int, int], dtype: str, device: str) -> None:
    exact = {"dtype": dtype, "device": device}
    whole = open_vlm(folder, **exact)
    kinds = ("LT", "LV", "last")
    every = [f"V{i}" for i in range(whole.n_vision_blocks + 1)] + [f"{kind}{i}" for kind in kinds for i in range(whole.n_blocks + 1)]
    one, all_layers = HiddenStates(folder, layer=LAYER, batch=1, **exact), HiddenStates(folder, layers=every, batch=1, **exact)
    images = [one.preprocess(picture(size, seed=seed)) for seed in range(n)]
    ways = {
        "plain": lambda images=images: plain(whole, images, one.prompt),
        "one layer": lambda images=images: one.encode(images)[LAYER],
        "all": lambda images=images: all_layers.encode(images)[LAYER],
    }
    for work in ways.values():
        work(images[:1])  # one of each that does not count
    took: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    found = {}
    for turn in range(rounds):
        for way, work in ways.items():
            seconds, found[way] = timed(work)
            took[way].append(seconds / n)
        print(f"  round {turn + 1}: " + ", ".join(f"{way} {took[way][-1][0] * 1e3:.0f} ms" for way in ways) + " an image", flush=True)
    print(f"\n{whole.n_blocks} blocks of width {whole.width}, {whole.n_vision_blocks} of the vision encoder of width {whole.vision_width}; {dtype}, ", end="")
    print(f"{whole.device}, {torch.get_num_threads()} threads; {n} images of {size[0]} x {size[1]}, {images[0].n_tokens} image tokens\n")
    print("| way | images/s | times as fast as plain (range over rounds) | by processor time | difference of the features |\n|---|---|---|---|---|")
    for way in ways:
        ratios = np.array(took["plain"]) / np.array(took[way])
        clock, processor = [f"{np.median(one):.2f} ({one.min():.2f} to {one.max():.2f})" for one in ratios.T]
        off = np.abs(found[way] - found["plain"]).max()
        print(f"| {way} | {1 / np.median(took[way], axis=0)[0]:.2f} | {clock} | {processor} | {off:.1e} |")
    parameters = [sum(one.numel() for one in vlm.model.parameters()) for vlm in (whole, one.vlm)]
    print(f"\nparameters in memory: {parameters[0] / 1e6:.1f} million, for one layer {parameters[1] / 1e6:.1f} million; {len(every)} layers in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=384, help="of an image, in pixels; its height is three quarters of that")
    parser.add_argument("--vision-blocks", type=int, default=24, help="of the random model; the fewer, the more there is to save in the decoder")
    parser.add_argument("--folder", type=Path, help="a model there instead of a random one, such as a real Qwen3-VL")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--quick", action="store_true", help="a small run that shows whether all works; its numbers mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.images, options.rounds, options.width = 2, 1, 128
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.folder is None:
            save_model(Path(folder), blocks=36, vision_blocks=options.vision_blocks)
        size = (options.width, options.width * 3 // 4)
        compare(options.folder or Path(folder), n=options.images, rounds=options.rounds, size=size, dtype=options.dtype, device=options.device)


if __name__ == "__main__":
    main()
