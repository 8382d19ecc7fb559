"""Tiny LLaMAs in Meta's layout and tokenizers of several kinds, written apart from the code under test."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import sentencepiece
import torch

SPECIAL = 3
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "print('hello')  # a comment", "Prices: 12,345.67 USD (2023).",
    "the model reads the text and the text reads the model", "def add(a, b): return a + b", "你好 world",
]  # fmt: skip


def tokenizer(path: Path, pieces: int = 340, *, dummy_prefix: bool = True, lines: list[str] | None = None) -> int:
    """A sentencepiece model such as LLaMA's: BPE, bytes, identity, `▁` in front. Returns how many pieces it has."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((lines or SENTENCES) * 3), model_writer=written, model_type="bpe", vocab_size=pieces,
        hard_vocab_limit=False, character_coverage=1.0, byte_fallback=True, normalization_rule_name="identity",
        add_dummy_prefix=dummy_prefix, remove_extra_whitespaces=False, split_digits=True, num_threads=1,
        allow_whitespace_only_pieces=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written.getvalue())
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).get_piece_size()


def params(dim=32, n_layers=2, n_heads=4, multiple_of=16, norm_eps=1e-5, **more) -> dict:
    return {"dim": dim, "n_layers": n_layers, "n_heads": n_heads, "multiple_of": multiple_of, "norm_eps": norm_eps,
            "vocab_size": -1, **more}  # fmt: skip


def hidden(p: dict) -> int:
    """The feed-forward width, by Meta's rule."""
    width = int(2 * 4 * p["dim"] / 3)
    if "ffn_dim_multiplier" in p:
        width = int(p["ffn_dim_multiplier"] * width)
    return p["multiple_of"] * math.ceil(width / p["multiple_of"])


def weights(p: dict, vocabulary: int, seed: int = 0, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """The whole matrices, under Meta's names."""
    draw = torch.Generator().manual_seed(seed)
    d, kv = p["dim"], p.get("n_kv_heads", p["n_heads"]) * p["dim"] // p["n_heads"]

    def random(*shape):
        return (torch.randn(*shape, generator=draw) * 0.2).to(dtype)

    found = {"tok_embeddings.weight": random(vocabulary, d), "output.weight": random(vocabulary, d),
             "norm.weight": 1 + random(d)}  # fmt: skip
    for i in range(p["n_layers"]):
        for name, shape in (
            ("attention.wq", (d, d)), ("attention.wk", (kv, d)), ("attention.wv", (kv, d)), ("attention.wo", (d, d)),
            ("feed_forward.w1", (hidden(p), d)), ("feed_forward.w2", (d, hidden(p))),
            ("feed_forward.w3", (hidden(p), d)), ("attention_norm", (d,)), ("ffn_norm", (d,)),
        ):  # fmt: skip
            found[f"layers.{i}.{name}.weight"] = random(*shape) + (1 if "norm" in name else 0)
    return found


def write(folder: Path, p: dict, whole: dict[str, torch.Tensor], shards: int, *, by_rows: bool = False) -> Path:
    """Meta's folder: each of `shards` has its rows or columns of every matrix, as fairscale's layers cut them."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ("wo.weight", "w2.weight") + (() if by_rows else ("tok_embeddings.weight",))
    for rank in range(shards):
        part = {}
        for name, value in whole.items():
            if value.dim() == 1:
                part[name] = value.clone()
            elif name.endswith(columns):
                width = value.shape[1] // shards
                part[name] = value[:, rank * width : (rank + 1) * width].clone()
            else:
                height = value.shape[0] // shards
                part[name] = value[rank * height : (rank + 1) * height].clone()
        half = p["dim"] // p["n_heads"] // 2
        part["rope.freqs"] = 10000.0 ** -(torch.arange(half) / half)
        torch.save(part, folder / f"consolidated.{rank:02d}.pth")
    (folder / "params.json").write_text(json.dumps(p), encoding="utf-8")
    return folder


def forward(p: dict, w: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Logits [T, V] of a row of ids [T], as Meta's model computes them: neighbouring pairs turned as complex ones."""
    w = {name: value.double() for name, value in w.items()}
    heads, kv = p["n_heads"], p.get("n_kv_heads", p["n_heads"])
    d = p["dim"] // heads
    length = len(ids)
    frequencies = p.get("rope_theta", 10000.0) ** -(torch.arange(0, d, 2).double() / d)
    turn = torch.polar(torch.ones(length, d // 2).double(), torch.outer(torch.arange(length).double(), frequencies))

    def norm(x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + p["norm_eps"]) * w[name]

    def rotated(x):  # [T, heads, d]
        pairs = torch.view_as_complex(x.reshape(length, -1, d // 2, 2).contiguous())
        return torch.view_as_real(pairs * turn[:, None, :]).flatten(2)

    x = w["tok_embeddings.weight"][ids]
    future = torch.full((length, length), float("-inf")).double().triu(1)
    for i in range(p["n_layers"]):
        of = f"layers.{i}."
        y = norm(x, of + "attention_norm.weight")
        q = rotated((y @ w[of + "attention.wq.weight"].T).view(length, heads, d))
        k = rotated((y @ w[of + "attention.wk.weight"].T).view(length, kv, d)).repeat_interleave(heads // kv, 1)
        v = (y @ w[of + "attention.wv.weight"].T).view(length, kv, d).repeat_interleave(heads // kv, 1)
        seen = torch.softmax(torch.einsum("thd,shd->hts", q, k) / math.sqrt(d) + future, -1)
        x = x + torch.einsum("hts,shd->thd", seen, v).reshape(length, -1) @ w[of + "attention.wo.weight"].T
        y = norm(x, of + "ffn_norm.weight")
        gate = torch.nn.functional.silu(y @ w[of + "feed_forward.w1.weight"].T)
        x = x + (gate * (y @ w[of + "feed_forward.w3.weight"].T)) @ w[of + "feed_forward.w2.weight"].T
    return norm(x, "norm.weight") @ w["output.weight"].T


PEAK = """
import sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
exec(sys.argv[1])  # imports, and what is made before the measure
x = torch.ones(300, 300) @ torch.ones(300, 300)  # what the first product allocates for good
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))
before = peak = anonymous()
done = False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.0005)
thread = threading.Thread(target=watch)
thread.start()
exec(sys.argv[2])
done = True
thread.join()
print(peak - before)
"""


def peak_of(before: str, work: str) -> int:
    """How many bytes of its own memory a process of its own takes at most for ``work``, after ``before``."""
    ended = subprocess.run([sys.executable, "-c", PEAK, before, work], capture_output=True, text=True, check=True)
    return int(ended.stdout.split()[-1])
