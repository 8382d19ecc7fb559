"""Training a LLaMA of 7B shape on one GPU: tokens/s, MFU and memory, beside the HF Trainer's defaults in the same run.

    python benchmarks/gpu_train.py --out benchmarks/results/gpu_train.json
    python benchmarks/gpu_train.py --tiny            # a small shape, on a CPU too, in seconds

Needs torch and transformers (and accelerate, which the Trainer needs) and nothing of belle. Weights are random; rows
are packed, so every sequence is full. Both sides hold weights, gradients and AdamW's two moments in bfloat16: 8 bytes a
parameter, 54 GB at 7B, which is what fits a GPU of 80 GB. That is enough to measure speed by; a training that is to go
far wants moments and a copy of the weights in float32 (ZeRO over several GPUs), or adapters.

Ours: decoder layers compiled one by one, as few of them checkpointed as memory allows, the loss in chunks that never
hold all logits, one fused AdamW. The peer: TrainingArguments as they are but for bf16, the length of the run and
reports; its batch is halved, and then its gradient checkpointing switched on, until it fits. Each side runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "7b": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "length": 2048, "tokens": 8192},
    "tiny": {"vocab_size": 2000, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
             "num_attention_heads": 4, "length": 256, "tokens": 1024},
}  # fmt: skip
"""Shapes; ``tokens`` is the batch of one step."""

PEAKS = {
    "H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "H800": 989e12, "GH200": 989e12, "B200": 2250e12,
    "A100": 312e12, "A800": 312e12, "A10": 125e12, "L40S": 362e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip
"""Dense bf16 FLOP/s by the makers' data sheets; the first name that the device's holds counts."""

CHUNK = 2048
"""Positions whose logits are held at once."""
ROOM = 0.92
"""Share of the device's memory that may be planned with; the rest is the allocator's."""


def device_name() -> str:
    """The GPU, or the processor and how many of its cores there are."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measured_peak(seconds: float = 1.0) -> float:
    """FLOP/s of the best of many square products in bf16 on this device."""
    import torch

    size = 8192 if torch.cuda.is_available() else 1024
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        synchronise()
        start = time.perf_counter()
        left @ right
        synchronise()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def flops_a_token(shape: dict[str, int]) -> float:
    """6 for each parameter that multiplies a token, and causal attention; recomputing counts for nothing."""
    h, f, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    return 6.0 * (layers * (4 * h * h + 3 * h * f) + shape["vocab_size"] * h) + 6.0 * layers * h * shape["length"]


def new_model(shape: dict[str, int]) -> Any:
    """A model with random weights: bf16 on a GPU, float32 on a CPU, whose bf16 says nothing of a GPU's."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    sizes = {key: shape[key] for key in shape if key not in {"length", "tokens"}}
    config = LlamaConfig(
        **sizes, max_position_embeddings=shape["length"], use_cache=False, tie_word_embeddings=False,
        attn_implementation="sdpa",
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if gpu else torch.float32)
    try:
        with torch.device("cuda" if gpu else "cpu"):
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)


def peak_memory_gb() -> float:
    """The most memory that tensors took on the GPU, or that the process took on a CPU."""
    import resource

    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


# --- ours -------------------------------------------------------------------------------------------------------


def checkpoint_layers(model: Any, count: int, compiled: bool) -> None:
    """Let the first ``count`` decoder layers compute their activations a second time; compile each layer by itself."""
    import torch
    from torch.utils.checkpoint import checkpoint

    if compiled:  # one graph serves all layers; what differs between them must not count as too many graphs
        torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    for number, layer in enumerate(model.model.layers):
        plain = layer.__class__.forward.__get__(layer)
        forward = torch.compile(plain) if compiled else plain

        def again(*args: Any, inner: Any = forward, **kwargs: Any) -> Any:
            return checkpoint(inner, *args, use_reentrant=False, **kwargs)

        layer.forward = again if number < count else forward


def loss_of(model: Any, ids: Any) -> Any:
    """The mean loss of sequences [B, T], each predicting itself shifted by one, ``CHUNK`` positions at once."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.checkpoint import checkpoint

    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1].reshape(-1, model.config.hidden_size)
    labels = ids[:, 1:].reshape(-1)

    def part(states: Any, wanted: Any) -> Any:
        return cross_entropy(model.lm_head(states).float(), wanted, reduction="sum")

    sums = [
        checkpoint(part, states, wanted, use_reentrant=False)
        for states, wanted in zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True)
    ]
    return torch.stack(sums).sum() / labels.numel()


def fewest_checkpoints(layers: int, all_bytes: float, one_fewer: float, room: float) -> int:
    """How many layers must be checkpointed, when leaving out one costs ``one_fewer`` bytes over ``all_bytes``."""
    if one_fewer <= 0:
        return layers
    return max(0, layers - max(0, int((room - all_bytes) / one_fewer)))


def run_ours(shape: dict[str, int], steps: int, compiled: bool) -> dict[str, Any]:
    """Seconds of each step, memory and losses of our loop."""
    import torch

    model = new_model(shape)
    model.train()
    gpu = torch.cuda.is_available()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(1)
    rows = shape["tokens"] // shape["length"]
    batches = torch.randint(0, shape["vocab_size"], (4, rows, shape["length"]), generator=generator)
    batches = batches.to("cuda" if gpu else "cpu")

    def step(number: int) -> Any:
        loss = loss_of(model, batches[number % len(batches)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    layers = shape["num_hidden_layers"]
    chosen = layers if gpu else 0
    if gpu:
        peaks = []
        for count in (layers, layers - 2):  # the second tells what two layers' activations take
            checkpoint_layers(model, count, compiled)
            step(0)
            torch.cuda.reset_peak_memory_stats()
            step(1)
            peaks.append(float(torch.cuda.max_memory_allocated()))
        room = ROOM * torch.cuda.get_device_properties(0).total_memory
        chosen = fewest_checkpoints(layers, peaks[0], (peaks[1] - peaks[0]) / 2, room)
    while True:
        checkpoint_layers(model, chosen, compiled)
        try:
            for number in range(3):
                step(number)
            break
        except torch.OutOfMemoryError:
            if chosen >= layers:
                raise
            chosen = min(layers, chosen + 2)
            optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds, losses = [], []
    for number in range(steps):
        synchronise()
        start = time.perf_counter()
        loss = step(number)
        synchronise()
        seconds.append(time.perf_counter() - start)
        losses.append(float(loss))
    return {"seconds": seconds, "tokens": rows * shape["length"], "memory_gb": peak_memory_gb(), "losses": losses,
            "checkpointed_layers": chosen, "compiled": compiled}  # fmt: skip


# --- the peer ---------------------------------------------------------------------------------------------------


def run_peer(shape: dict[str, int], steps: int, batch: int, checkpointing: bool) -> dict[str, Any]:
    """The same of the Trainer with its defaults."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    gpu = torch.cuda.is_available()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, shape["vocab_size"], (batch * (steps + 3), shape["length"]), generator=generator)

    class Timed(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.start = 0.0

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            synchronise()
            self.start = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            synchronise()
            self.seconds.append(time.perf_counter() - self.start)

    timed = Timed()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps + 3, per_device_train_batch_size=batch, bf16=gpu, use_cpu=not gpu,
            save_strategy="no", report_to="none", logging_steps=1, disable_tqdm=True, **checkpointed(checkpointing),
        )  # fmt: skip
        trainer = Trainer(
            model=new_model(shape), args=arguments, callbacks=[timed],
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
        )  # fmt: skip
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {"seconds": timed.seconds[3:], "tokens": batch * shape["length"], "memory_gb": peak_memory_gb(),
            "losses": losses[3:], "batch": batch, "checkpointing": checkpointing}  # fmt: skip


def checkpointed(on: bool) -> dict[str, bool]:
    """The argument that switches checkpointing on, by the name that this release of transformers has for it."""
    from dataclasses import fields

    from transformers import TrainingArguments

    names = {field.name for field in fields(TrainingArguments)}
    return {"activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing": on}


# --- both -------------------------------------------------------------------------------------------------------


def in_a_process(words: list[str]) -> dict[str, Any] | None:
    """What a side measured in a process of its own; None where it ran out of memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        environment = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", **os.environ, "HF_HUB_OFFLINE": "1"}
        ended = subprocess.run(
            [sys.executable, __file__, *words, "--inner", str(out)], env=environment, stderr=subprocess.PIPE, text=True
        )
        if ended.returncode == 0:
            found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return found
    if "OutOfMemoryError" in ended.stderr or "out of memory" in ended.stderr:
        return None
    raise SystemExit(f"{' '.join(words)} failed:\n{ended.stderr[-4000:]}")


def peers_first_that_fits(shared: list[str]) -> dict[str, Any]:
    """The Trainer at its default batch of 8; at smaller ones, and then with checkpointing, until it fits."""
    for checkpointing in ([], ["--checkpointing"]):
        for batch in (8, 4, 2, 1):
            found = in_a_process(["--side", "peer", "--batch", str(batch), *checkpointing, *shared])
            if found:
                return found
    raise SystemExit("the Trainer does not fit this device at any batch")


def rate(found: dict[str, Any]) -> list[float]:
    """Tokens a second, of each step."""
    return [found["tokens"] / seconds for seconds in found["seconds"]]


def main() -> None:
    """Measure both sides and write one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a small shape, for a CPU")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each side (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=0, help="tokens of our step (default: the shape's)")
    parser.add_argument("--no-compile", action="store_true", help="our layers as they are")
    parser.add_argument("--out", type=Path, help="where the row is written")
    parser.add_argument("--side", choices=["ours", "peer"], help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=8, help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inner", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available()
    if not gpu and not args.tiny:
        raise SystemExit("no GPU is here: the 7B shape needs one of 80 GB; --tiny runs on a CPU")
    shape = dict(SHAPES["tiny" if args.tiny else "7b"])
    shape["tokens"] = args.tokens or shape["tokens"]
    if shape["tokens"] % shape["length"]:
        raise SystemExit(f"--tokens {shape['tokens']} is no multiple of the length, {shape['length']}")
    if args.inner:
        compiled = gpu and not args.no_compile
        found = (
            run_ours(shape, args.steps, compiled)
            if args.side == "ours"
            else run_peer(shape, args.steps, args.batch, args.checkpointing)
        )
        args.inner.write_text(json.dumps(found), encoding="utf-8")
        return
    shared = [*(["--tiny"] if args.tiny else []), "--steps", str(args.steps), "--tokens", str(shape["tokens"])]
    ours = in_a_process(["--side", "ours", *shared, *(["--no-compile"] if args.no_compile else [])])
    if ours is None:
        raise SystemExit(
            f"our loop does not fit this device with {shape['tokens']} tokens: try --tokens {shape['length']}"
        )
    peer = peers_first_that_fits(shared)
    device, best = device_name(), measured_peak()
    sheet = next((peak for name, peak in PEAKS.items() if name in device), None) if gpu else None
    peak = sheet or best
    mine, theirs = statistics.median(rate(ours)), statistics.median(rate(peer))
    cost = flops_a_token(shape)
    row = {
        "name": "gpu_train_vs_hf_trainer" + ("_tiny" if args.tiny else ""),
        "ours": round(mine, 1), "peer": round(theirs, 1), "unit": "tokens/s", "ratio": round(mine / theirs, 2),
        "n": args.steps,
        "spread": {side: [round(min(rate(found)), 1), round(max(rate(found)), 1)]
                   for side, found in (("ours", ours), ("peer", peer))},
        "mfu": {"ours": round(mine * cost / peak, 3), "peer": round(theirs * cost / peak, 3)},
        "memory_gb": {"ours": round(ours["memory_gb"], 2), "peer": round(peer["memory_gb"], 2)},
        "peak_tflops": round(peak / 1e12, 2), "peak_is": "data sheet" if sheet else "best matrix product here",
        "matmul_tflops": round(best / 1e12, 2), "flops_a_token": cost,
        "dtype": "bf16 weights, gradients and moments" if gpu else "float32",
        "settings": {"ours": {key: ours[key] for key in ("tokens", "checkpointed_layers", "compiled")},
                     "peer": {key: peer[key] for key in ("tokens", "batch", "checkpointing")}},
        "loss": {"ours": [round(ours["losses"][at], 3) for at in (0, -1)],
                 "peer": [round(peer["losses"][at], 3) for at in (0, -1)]},
        "device": device, "torch": torch.__version__, "load": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    text = json.dumps([row], indent=1, ensure_ascii=False)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
