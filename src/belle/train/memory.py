"""How much memory a fine-tuning takes at its peak, on each device and host, before it is started.

What autograd keeps for the backward pass is counted tensor by tensor, as the code of transformers makes them (LLaMA and
BLOOM); states follow ZeRO (arXiv 1910.02054) as DeepSpeed lays them out. tests/train/test_scale_memory.py holds it
against measured peaks; docs/decisions/0035 says what it leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

FLOAT, HALF = 4, 2
"""Bytes of a number in float32, and in bfloat16 or float16."""
MOMENTS = 2
"""Numbers that AdamW keeps of each trained one; in float32, whatever the weights are in."""
QUANTISED_EXTRA = 0.25 / 8
"""Bytes per parameter of an 8- or 4-bit base for its scales: one half-precision number for 64."""
CONTEXT_BYTES = 1.0e9
"""What CUDA, cuBLAS and NCCL take of a GPU before the first tensor."""
FRAGMENTATION = 0.05
"""Share of what comes and goes that the GPU's allocator cannot use."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder. ``tied``: input and output embeddings are one matrix."""

    kind: Literal["llama", "bloom"]
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def kv(self) -> int:
        """Width of keys, and of values."""
        return self.hidden * self.kv_heads // self.heads

    @property
    def linear(self) -> int:
        """Parameters of one layer's matrices."""
        attention = self.hidden * (2 * self.hidden + 2 * self.kv)
        return attention + self.hidden * self.intermediate * (3 if self.kind == "llama" else 2)

    @property
    def parameters(self) -> int:
        """Parameters in all."""
        h, f = self.hidden, self.intermediate
        small = 2 * h if self.kind == "llama" else 4 * h + (3 * h + h + f + h)  # norms; BLOOM's have biases, as all has
        ends = h if self.kind == "llama" else 4 * h
        return self.layers * (self.linear + small) + ends + self.embedding * (1 if self.tied else 2)

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Shape | None:
        """The shape that a config.json states; None for an architecture that is not known here."""
        kind = config.get("model_type")
        hidden = int(config.get("hidden_size") or config.get("n_embed") or 0)
        heads = int(config.get("num_attention_heads") or config.get("n_head") or 1)
        layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 0)
        if kind == "bloom":
            return cls("bloom", layers, hidden, 4 * hidden, heads, heads, config["vocab_size"], True)
        if kind not in {"llama", "mistral", "qwen2", "baichuan"}:
            return None
        return cls(
            "llama", layers, hidden, config["intermediate_size"], heads, config.get("num_key_value_heads") or heads,
            config["vocab_size"], bool(config.get("tie_word_embeddings")),
        )  # fmt: skip


PUBLISHED = (
    Shape("bloom", 30, 4096, 16384, 32, 32, 250_880, True),  # BLOOM(Z)-7B1
    Shape("bloom", 24, 2048, 8192, 16, 16, 250_880, True),  # BLOOM(Z)-1B7
    Shape("bloom", 30, 2560, 10240, 32, 32, 250_880, True),  # BLOOM(Z)-3B
    Shape("llama", 32, 4096, 11008, 32, 32, 32_000, False),  # LLaMA and Llama-2 7B
    Shape("llama", 40, 5120, 13824, 40, 40, 32_000, False),  # 13B
    Shape("llama", 60, 6656, 17920, 52, 52, 32_000, False),  # 33B
    Shape("llama", 80, 8192, 22016, 64, 64, 32_000, False),  # 65B
    Shape("llama", 40, 5120, 13696, 40, 40, 64_000, False),  # Baichuan-13B
)
"""Shapes of the bases that upstream trained on."""


def shape_of(parameters: float) -> Shape:
    """The published shape that a number of parameters means; what is over or under is in the vocabulary."""
    near = min(PUBLISHED, key=lambda shape: abs(shape.parameters - parameters))
    vocabulary = near.vocabulary + (parameters - near.parameters) / near.hidden / (1 if near.tied else 2)
    return replace(near, vocabulary=max(256, round(vocabulary)))


@dataclass(frozen=True)
class Run:
    """How a model is trained, as far as memory goes.

    Args:
        tokens: Of one batch on one device, padding counted.
        length: Of the longest row.
        counted: Share of the tokens whose logits the loss needs.
        half: Whether weights are held in half precision; ``autocast``: held in float32, computed in half.
        trained: Parameters that are trained: all, those of the adapters, or of the input embeddings.
        lora_modules: How many of a layer's matrices have adapters; 0 trains in full. ``lora_dropout``: any at all.
        base_bits: 16, or 8 or 4 for a quantised base under adapters.
        stage: Of ZeRO, 0 for none; ``bucket``: numbers that DeepSpeed sends at once, ``overlap``: two of them.
        gpu: Whether on GPUs, whose context and fragments count.
    """

    tokens: int
    length: int
    half: bool
    autocast: bool
    trained: float
    checkpointing: bool
    counted: float = 1.0
    accumulates: bool = False
    lora_modules: tuple[str, ...] = ()
    lora_dropout: bool = False
    base_bits: int = 16
    processes: int = 1
    stage: int = 0
    bucket: float = 5e8
    overlap: bool = False
    live: float = 1e9
    offload_optimizer: bool = False
    offload_weights: bool = False
    gpu: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak, by what they are for; ``host`` is main memory for each process."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    buffers: float
    peak: float
    host: float

    def largest(self) -> str:
        """The parts in GB, the largest first."""
        parts = {
            name: getattr(self, name)
            for name in ("weights", "gradients", "optimizer", "activations", "logits", "buffers")
        }
        listed = sorted(parts.items(), key=lambda part: -part[1])
        return ", ".join(f"{name} {size / 1e9:.1f}" for name, size in listed if size >= 5e7)


def _number(run: Run) -> int:
    return HALF if run.half or run.autocast else FLOAT


def layer_activations(shape: Shape, run: Run) -> float:
    """Bytes that autograd keeps of one layer.

    Per token, of LLaMA in full: of each norm its input, the normalised one and its output; rotated queries and keys,
    values and what attention gives; of the MLP gate, its SiLU, up and their product.
    """
    h, kv, f, e = shape.hidden, shape.kv, shape.intermediate, _number(run)
    mixed = e == HALF
    if shape.kind == "bloom":
        norms = 2 * (h + h) * e  # its input and its output
        probabilities = shape.heads * run.length * (FLOAT + (e if mixed else 0))  # softmax in float32, and cast
        return run.tokens * (norms + 4 * h * e + probabilities + 2 * f * e)
    if not run.lora_modules:
        norms = 2 * (FLOAT * h + e * h + e * h)  # the input is squared in float32
        return run.tokens * (norms + e * (2 * h + 2 * kv + 4 * f))
    inputs = {"q_proj": h, "k_proj": h, "v_proj": h, "o_proj": h, "gate_proj": h, "up_proj": h, "down_proj": f}
    modules = [inputs[name] for name in run.lora_modules if name in inputs]
    norms = 2 * FLOAT * h
    first = any(name in run.lora_modules for name in ("q_proj", "k_proj", "v_proj"))
    second = any(name in run.lora_modules for name in ("gate_proj", "up_proj"))
    kept = h * (first + second) + (f if "down_proj" in run.lora_modules else 0)
    low = FLOAT if mixed else e  # adapters are in float32 whatever the base is in: peft casts what goes in
    cast = sum(modules) * FLOAT if mixed else 0
    dropped = sum(modules) * (low + (1 if run.gpu else low)) if run.lora_dropout else 0
    return run.tokens * (norms + e * (2 * h + 2 * kv + 3 * f + kept) + max(cast, dropped))


def _layer_transient(shape: Shape, run: Run) -> float:
    """Gradients of activations that stand at once while one layer goes backward."""
    scores = shape.heads * run.length * (FLOAT + _number(run)) if shape.kind == "bloom" else 0
    return run.tokens * (scores + _number(run) * (2 * shape.intermediate + shape.hidden))


def logits_bytes(shape: Shape, run: Run) -> float:
    """Logits in float32, their log-softmax and the gradient of it, [tokens, vocabulary] each; in half besides."""
    numbers = run.tokens * run.counted * shape.vocabulary
    return numbers * (3 * FLOAT + (HALF if _number(run) == HALF else 0))


def memory(shape: Shape, run: Run, parameters: float = 0.0) -> Memory:
    """The peak of a training's second step, when the optimizer's states are there.

    Args:
        parameters: Of the base, where they are known better than by its shape.
    """
    base = parameters or float(shape.parameters)
    adapters = run.trained if run.lora_modules else 0.0
    trained = run.trained if run.lora_modules or run.trained < shape.parameters else base
    width = HALF if run.half else FLOAT
    by_base = base * (width if run.base_bits == 16 else run.base_bits / 8 + QUANTISED_EXTRA)
    adapter_width = FLOAT
    split = run.processes if run.stage else 1
    weights = by_base + adapters * adapter_width
    trained_width = adapter_width if run.lora_modules else width
    # A GPU gives a bucket whole; main memory gives the pages that are written, once gradients are there.
    sent = run.bucket * trained_width * (2 if run.overlap else 1) if run.gpu else 0.0
    written = 0.0 if run.gpu or not run.stage else min(run.bucket, trained) * trained_width
    buffers = 0.0
    if run.stage:
        master = FLOAT * trained / split
        optimizer = master + MOMENTS * FLOAT * trained / split
        gradients, buffers = trained_width * trained / split, sent
        step = gradients + FLOAT * trained / split  # once more, flat and in float32
    else:
        optimizer = MOMENTS * FLOAT * trained
        gradients, step = trained_width * trained, trained_width * trained
    if run.stage == 3:
        whole = weights
        weights = whole / split
        buffers += min(whole, run.live * width)
    host = by_base
    if run.offload_optimizer:
        host += optimizer + gradients
        optimizer, step = 0.0, 0.0
        gradients = 0.0
    if run.offload_weights:
        host += weights
        weights = 0.0
    layer = layer_activations(shape, run)
    between = float(run.tokens * shape.hidden * _number(run))
    if run.checkpointing:
        kept = float(shape.layers * between)
        at_loss, in_layer = kept, kept + layer + _layer_transient(shape, run)
    else:
        kept = shape.layers * layer
        at_loss, in_layer = kept, kept + _layer_transient(shape, run)
    ends = float(run.tokens * shape.hidden * (FLOAT + 3 * _number(run)))
    if run.autocast:
        ends += HALF * base  # weights cast for each matrix product, and kept for its backward
    logits = logits_bytes(shape, run)
    resident = weights + optimizer + buffers
    before = gradients if run.accumulates else 0.0
    head = 0.0 if run.lora_modules else shape.embedding * trained_width
    phases = {
        "loss": (before, at_loss + ends, logits),
        "head": (before + head, at_loss + ends, logits / 3),
        "layer": (before + head, in_layer + ends, 0.0),
        "gradients": (gradients + written, 0.0, 0.0),
        "step": (step, 0.0, 0.0),
    }
    held, activations, of_logits = max(phases.values(), key=sum)
    coming = held + activations + of_logits
    peak = resident + coming
    if run.gpu:
        buffers += CONTEXT_BYTES + FRAGMENTATION * coming
        peak += CONTEXT_BYTES + FRAGMENTATION * coming
    return Memory(weights, held, optimizer, activations, of_logits, buffers, peak, host)


def adapter_parameters(shape: Shape, rank: int, modules: Sequence[str]) -> int:
    """Parameters of LoRA adapters, on every layer."""
    h, kv, f = shape.hidden, shape.kv, shape.intermediate
    ends = {
        "q_proj": h + h, "k_proj": h + kv, "v_proj": h + kv, "o_proj": h + h, "gate_proj": h + f, "up_proj": h + f,
        "down_proj": f + h, "query_key_value": 4 * h, "dense": h + h, "dense_h_to_4h": h + f, "dense_4h_to_h": f + h,
    }  # fmt: skip
    return shape.layers * rank * sum(ends.get(name, 0) for name in modules)
