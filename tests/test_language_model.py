"""Frozen language models: the text around messages, greedy answers, loading from a folder and from a GGUF file, refusals."""

import json

import numpy as np
import pytest
import torch

from beholder.backbones.language_model import ChatLayout, best_dtype, load_language_model, unpacked
from beholder.errors import BeholderError
from tiny_llama import CHATML, HEADERS, NO_SYSTEM, llama, tokenizer

MESSAGES = [{"role": "system", "content": "Like red."}, {"role": "user", "content": "How is it?"}, {"role": "assistant", "content": "Red."}]
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set said = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (said if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)


# --- ChatLayout


@pytest.mark.parametrize("template", [CHATML, HEADERS, LLAMA2], ids=["default system message", "date in the system message", "system inside the user's turn"])
def test_the_layout_writes_what_the_template_writes(template):
    tokens = tokenizer(template)
    chat = ChatLayout.of(tokens)
    space = " " if template == LLAMA2 else ""  # before and after its answers
    text = chat.before_user("Like red.") + "How is it?" + chat.after_user + space + "Red." + chat.after_answer
    assert text == tokens.apply_chat_template(MESSAGES, tokenize=False, date_string="26 Jul 2024")


@pytest.mark.parametrize(
    ("template", "alone"),
    [(CHATML, "<|im_start|>user\n"), (HEADERS, "<|begin|><|start|>user<|end|>\n\n"), (LLAMA2, "<|begin|>[INST] "), (None, "<|begin|>Question: ")],
)
def test_nobody_has_no_system_message_and_one_begin_token(template, alone):
    tokens = tokenizer(template)
    chat = ChatLayout.of(tokens)
    assert chat.before_user("") == alone
    for system in ("", "Like red."):
        ids = tokens(chat.before_user(system), add_special_tokens=False)["input_ids"]
        begins = ids.count(tokens.convert_tokens_to_ids("<|begin|>"))
        assert begins == (0 if template == CHATML else 1)
        assert template == CHATML or ids[0] == tokens.bos_token_id


def test_a_template_without_a_default_system_message():
    plain = CHATML.replace("{% if loop.first and message['role'] != 'system' %}", "{% if false %}")
    chat = ChatLayout.of(tokenizer(plain, bos=""))
    assert chat == ChatLayout(
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        user=("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        alone="<|im_start|>user\n",
        after_answer="<|im_end|>\n",
    )
    assert ChatLayout.of(tokenizer(CHATML)) == chat


def test_a_model_without_a_template_gets_plain_lines():
    chat = ChatLayout.of(tokenizer(None))
    text = chat.before_user("Like red.") + "How is it?" + chat.after_user + "Red." + chat.after_answer
    assert text == "<|begin|>Like red.\n\nQuestion: How is it?\nAnswer: Red.\n"
    assert ChatLayout.of(tokenizer(None, bos="")).before_user("") == "Question: "


@pytest.mark.parametrize("template", [NO_SYSTEM, "{{ messages[0]['content'] }}", "{{ nonsense("], ids=["no system role", "one message", "no template"])
def test_templates_that_cannot_be_used_are_refused(template):
    with pytest.raises(BeholderError, match=r"the chat template of the language model cannot be used .*: it must accept system, user and assistant"):
        ChatLayout.of(tokenizer(template))


# --- LanguageModel


def test_answers_are_greedy_in_order_whatever_the_batch():
    model = llama()
    prompts = [("", "How is it?"), ("likes red; openness 7", "Rate this image."), ("age 30", "A"), ("", "Describe this image for this viewer.")]
    reports = []
    found = model.answer(prompts, max_new_tokens=7, batch_size=3, progress=lambda *report: reports.append(report))
    assert reports == [(3, 4), (4, 4)]
    assert len(set(found)) > 1
    for (system, user), answer in zip(prompts, found, strict=True):
        ids = model.encode(model.chat.before_user(system) + user + model.chat.after_user)
        new = []
        while len(new) < 7 and (not new or new[-1] not in model.stop):
            with torch.no_grad():
                new.append(int(model.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        assert answer == model.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert model.answer([]) == []


def test_an_answer_ends_with_its_turn():
    model = llama()
    assert model.stop == [model.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.model.generation_config.eos_token_id = [6, 2]
    del model.stop
    assert model.stop == [2, 6]


def test_a_prompt_longer_than_the_context_is_refused():
    model = llama(max_position_embeddings=64)
    with pytest.raises(BeholderError, match=r"a prompt has \d+ tokens, the language model tiny sees 64 at most: shorten it"):
        model.answer([("", "ab " * 60)], max_new_tokens=4)


def test_text_is_encoded_without_begin_and_end():
    model = llama(tokens=tokenizer(HEADERS))
    assert model.tokenizer.decode(model.encode("Größe 10 🎨")) == "Größe 10 🎨"
    assert not set(model.encode("red")) & set(model.tokenizer.all_special_ids)
    assert model.padding == 0 and model.context == 1024 and model.dtype == torch.float32


# --- loading


@pytest.fixture
def saved(tmp_path):
    made = llama(seed=3)
    made.model.save_pretrained(tmp_path / "tiny model")
    made.tokenizer.save_pretrained(tmp_path / "tiny model")
    return made, tmp_path / "tiny model"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_a_saved_model_comes_back_frozen(saved, dtype):
    made, folder = saved
    found = load_language_model(folder, dtype=dtype, device="cpu")
    assert found.name == "tiny model" and found.dtype == getattr(torch, dtype) and found.device == "cpu"
    assert not found.model.training and not any(parameter.requires_grad for parameter in found.model.parameters())
    assert found.chat == made.chat and found.encode("likes red 10") == made.encode("likes red 10")
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor.to(found.dtype))
    assert found.revision == load_language_model(folder, device="cpu").revision


def test_other_weights_are_another_revision(saved):
    _, folder = saved
    before = load_language_model(folder, device="cpu").revision
    other = llama(seed=4)
    other.model.save_pretrained(folder)
    assert load_language_model(folder, device="cpu").revision != before
    assert load_language_model(folder, device="cpu").dtype == best_dtype("cpu")


def test_models_that_do_not_suit_are_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt")
    tokenizer().save_pretrained(tmp_path / "gpt")
    with pytest.raises(BeholderError, match="is of type 'gpt2', not of the Llama architecture: choose such a model"):
        load_language_model(tmp_path / "gpt", device="cpu")
    llama().model.config.save_pretrained(tmp_path / "bare")
    with pytest.raises(BeholderError, match="has no safetensors weights: save it with"):
        load_language_model(tmp_path / "bare", device="cpu")
    with pytest.raises(BeholderError, match="nothing is there"):
        load_language_model(tmp_path / "absent", device="cpu")


def write_gguf(path, made):
    """A GGUF file of the model, as converters write it: query and key rows in pairs, tokens of the byte-level alphabet."""
    gguf = pytest.importorskip("gguf")
    config, state = made.model.config, {name: tensor.numpy() for name, tensor in made.model.state_dict().items()}
    inner = json.loads(made.tokenizer.backend_tokenizer.to_str())["model"]
    words = sorted(inner["vocab"], key=inner["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.CONTROL if word.startswith("<|") and word.endswith("|>") else gguf.TokenType.NORMAL for word in words])
    writer.add_token_merges([" ".join(pair) for pair in inner["merges"]])
    writer.add_bos_token_id(made.tokenizer.bos_token_id)
    writer.add_eos_token_id(made.tokenizer.eos_token_id)
    writer.add_pad_token_id(0)
    writer.add_chat_template(CHATML)

    def in_pairs(weight, heads):
        return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)

    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    names |= {"mlp.down_proj": "ffn_down", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    for block in range(config.num_hidden_layers):
        for name, short in names.items():
            writer.add_tensor(f"blk.{block}.{short}.weight", state[f"model.layers.{block}.{name}.weight"])
        for name, heads in (("q", config.num_attention_heads), ("k", config.num_key_value_heads)):
            weight = np.ascontiguousarray(in_pairs(state[f"model.layers.{block}.self_attn.{name}_proj.weight"], heads))
            writer.add_tensor(f"blk.{block}.attn_{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_unpacked_once_and_is_the_same_model(tmp_path, monkeypatch):
    made = llama()
    write_gguf(tmp_path / "Tiny.gguf", made)
    found = load_language_model(tmp_path / "Tiny.gguf", dtype="float32", device="cpu")
    folder = unpacked(tmp_path / "Tiny.gguf")
    assert folder.parent.name == "models" and folder.name.startswith("tiny-")
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    state = found.model.state_dict()
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(state[name], tensor.bfloat16().float()), name
    assert found.chat == made.chat and found.stop == made.stop
    assert found.tokenizer.decode(found.encode("likes red; Größe")) == "likes red; Größe"

    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained
    seen = []
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda *a, **k: seen.append(k) or loaded(*a, **k))
    again = load_language_model(tmp_path / "Tiny.gguf", device="cpu")
    assert len(seen) == 1 and "gguf_file" not in seen[0]
    assert again.revision == found.revision


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    write_gguf(tmp_path / "Tiny.gguf", llama())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEHOLDER_CACHE", str(tmp_path / "file"))
    with pytest.raises(BeholderError, match="the language model cannot be unpacked into"):
        load_language_model(tmp_path / "Tiny.gguf", device="cpu")
