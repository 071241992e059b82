"""Writes reference.f32 from sentences.jsonl: all-MiniLM-L6-v2 in plain numpy, float64.

It shares no code with the crate or with candle; only the tokenizer's file format is read by the same
project's Python package. Usage, with numpy, safetensors and tokenizers installed:

    python reference.py MODEL_DIR
"""

import json
import math
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

model_dir = pathlib.Path(sys.argv[1])
here = pathlib.Path(__file__).parent
config = json.loads((model_dir / "config.json").read_text())
weights = {k: v.astype(np.float64) for k, v in load_file(model_dir / "model.safetensors").items() if v.dtype.kind == "f"}
tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(json.loads((model_dir / "sentence_bert_config.json").read_text())["max_seq_length"])
heads = config["num_attention_heads"]
erf = np.vectorize(math.erf)


def linear(x, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def layer_norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
    return x * weights[name + ".weight"] + weights[name + ".bias"]


def attention(x, name):
    split = lambda part: linear(x, f"{name}.self.{part}").reshape(len(x), heads, -1).transpose(1, 0, 2)
    query, key, value = split("query"), split("key"), split("value")
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores = scores / scores.sum(-1, keepdims=True)
    mixed = (scores @ value).transpose(1, 0, 2).reshape(len(x), -1)
    return layer_norm(linear(mixed, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")


def vector(text):
    ids = tokenizer.encode(text).ids
    x = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][: len(ids)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = layer_norm(x, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        x = attention(x, f"{name}.attention")
        inner = linear(x, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = layer_norm(linear(inner, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


texts = [json.loads(line)["text"] for line in (here / "sentences.jsonl").read_text().splitlines()]
np.array([vector(text) for text in texts]).astype("<f4").tofile(here / "reference.f32")
