"""What a full-scale stage needs of a machine, by arithmetic on sizes that params.yaml states.

Estimates, good enough to refuse a laptop before any work. Entries of the tiny world (``scratch`` bases) need nothing.
Bytes per parameter follow mixed-precision AdamW: 2 for the weights, 2 for gradients, 12 for the optimizer (fp32 copy,
two moments); ZeRO-2 splits the last two over the GPUs (arXiv 1910.02054, table 1).
"""

from __future__ import annotations

from typing import Any

from belle.build.preflight import Shortage, api_key_missing
from belle.entries import (
    AskedDataset,
    ConvertedBase,
    ExpandedBase,
    GeneratedDataset,
    HubBase,
    MergedModel,
    ScratchBase,
    TrainedModel,
)  # fmt: skip
from belle.params import Params, width

WEIGHTS, GRADIENTS, OPTIMIZER = 2, 2, 12
PROCESS_MB = 4000
"""Main memory of a process that has loaded PyTorch and a batch, without the model."""
ACTIVATIONS_GB = 6.0
"""Checkpointed activations and logits of a 7B model at 2 × 1024 tokens; a margin, not a model."""
QUANTISING_GB = 6.0
"""One decoder layer, its Hessians and calibration activations."""


WEIGHTS_PROCESS_MB = 1000
"""Main memory of a process that works on weights tensor by tensor, without the tensors."""
VOCABULARY_ROWS = 50_000
"""Tokens of the largest LLaMA vocabulary in use but BELLE's own (79,458)."""
LINE_CHARACTERS, BYTES_A_CHARACTER = 150, 90
"""A line of a corpus, an assumption; and what sentencepiece's BPE trainer keeps of each character, measured on 0.4 and
1.3 million characters of Chinese, half of them drawn at random (111 and 90 bytes); text that repeats itself takes
less."""


def _paid(base_url: str) -> int:
    """0 for the offline teacher and for servers on this machine."""
    return 0 if base_url == "offline" or "://127.0.0.1" in base_url or "://localhost" in base_url else 1


class Needs:
    """Resources of stages as functions of the rule's wildcards, in GB of 10⁹ bytes."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def _billions(self, name: str) -> float:
        """Parameters of the base under a model, in billions; 0 in the tiny world."""
        return self.params.parameters(name) / 1e9

    def gpus(self, wildcards: Any) -> int:
        """GPUs that a stage on a model uses at once."""
        return 1 if self._billions(wildcards.model) else 0

    def gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read; None where no GPU is asked for."""
        return self.gpus(wildcards) or None

    def mem_mb(self, wildcards: Any) -> int:
        """Main memory of a stage that loads one model, in MB of 10⁶ bytes."""
        return PROCESS_MB + round(self._billions(wildcards.model) * WEIGHTS * 1000)

    def base_threads(self, wildcards: Any) -> int:
        """Threads of training a base, as its recipe says."""
        entry = self.params.bases[wildcards.base]
        return self.params.base[entry.base].threads if isinstance(entry, ScratchBase) else 1

    def sft_threads(self, wildcards: Any) -> int:
        """Threads of fine-tuning, as its recipe says."""
        entry = self.params.models[wildcards.model]
        return self.params.sft[entry.sft].threads if isinstance(entry, TrainedModel) else 1

    def gptq_threads(self, wildcards: Any) -> int:
        """Threads of quantising."""
        return self.params.gptq.threads

    def answer_threads(self, wildcards: Any) -> int:
        """Threads of answering, as its recipe says."""
        return self.params.answer[self.params.evals[wildcards.eval].answer].threads

    def sft_gpu(self, wildcards: Any) -> int | None:
        """The GPUs of fine-tuning by the name that Snakemake's executors read; None where none is asked for."""
        return self.sft_gpus(wildcards) or None

    def sft_mem_mb(self, wildcards: Any) -> int:
        """Main memory of fine-tuning: each GPU has a process, and each loads the model."""
        return self.mem_mb(wildcards) * max(1, self.sft_gpus(wildcards))

    def sft_gpus(self, wildcards: Any) -> int:
        """GPUs that fine-tuning takes."""
        entry = self.params.models[wildcards.model]
        return entry.gpus if isinstance(entry, TrainedModel) else 0

    def sft_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of each GPU while fine-tuning."""
        entry, size = self.params.models[wildcards.model], self._billions(wildcards.model)
        if not size or not isinstance(entry, TrainedModel):
            return 0
        recipe = self.params.sft[entry.sft]
        shared = (GRADIENTS + OPTIMIZER) / max(1, entry.gpus if recipe.deepspeed else 1)
        trained = 0.01 if recipe.lora_r else 1.0  # LoRA trains about a hundredth of the parameters
        return round(size * (WEIGHTS + shared * trained) + ACTIVATIONS_GB)

    def sft_disk_gb(self, wildcards: Any) -> int:
        """The model and two checkpoints with their optimizer states."""
        return round(self._billions(wildcards.model) * (WEIGHTS + 2 * (WEIGHTS + OPTIMIZER)))

    def gptq_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory for one layer at a time."""
        size = self._billions(wildcards.model)
        return round(size * WEIGHTS / 4 + QUANTISING_GB) if size else 0

    def gptq_disk_gb(self, wildcards: Any) -> int:
        """The 4-bit folder."""
        return round(self._billions(wildcards.model) * 1.0)

    def answer_gpu_memory_gb(self, wildcards: Any) -> int:
        """Weights and the key-value cache of one batch."""
        size = self._billions(wildcards.model)
        weights = 1.0 if wildcards.model.endswith("-gptq") else WEIGHTS
        return round(size * weights + 4) if size else 0

    def fetch_disk_gb(self, wildcards: Any) -> int:
        """What a published base takes."""
        entry = self.params.bases[wildcards.base]
        return round(entry.disk_gb) if isinstance(entry, HubBase) else 0

    def _largest_gb(self, name: str) -> float:
        """The largest tensor of a model, its embeddings, in float32."""
        return VOCABULARY_ROWS * width(self._billions(name) * 1e9) * 4 / 1e9

    def convert_disk_gb(self, wildcards: Any) -> int:
        """What a converted base takes."""
        entry = self.params.bases[wildcards.base]
        return round(entry.disk_gb) if isinstance(entry, ConvertedBase) else 0

    def convert_mem_mb(self, wildcards: Any) -> int:
        """Main memory of converting: three times the largest tensor, in half precision, whatever the model's size."""
        return WEIGHTS_PROCESS_MB + round(self._largest_gb(wildcards.base) * 1.5 * 1000)

    def merge_mem_mb(self, wildcards: Any) -> int:
        """Main memory of merging: the largest tensor as it is, in float32, and rounded."""
        return WEIGHTS_PROCESS_MB + round(self._largest_gb(wildcards.model) * 2 * 1000)

    def merge_disk_gb(self, wildcards: Any) -> int:
        """The merged model."""
        return round(self._billions(wildcards.model) * WEIGHTS)

    def merge_threads(self, wildcards: Any) -> int:
        """Threads of merging, as its recipe says."""
        entry = self.params.models[wildcards.model]
        return self.params.merge[entry.merge].threads if isinstance(entry, MergedModel) else 1

    def vocabulary_mem_mb(self, wildcards: Any) -> int:
        """Main memory of a larger vocabulary: the corpus as sentencepiece holds it, or the embeddings twice."""
        entry = self.params.bases[wildcards.base]
        lines = self.params.vocabulary[entry.vocabulary].sentences if isinstance(entry, ExpandedBase) else 0
        held = lines * LINE_CHARACTERS * BYTES_A_CHARACTER / 1e6
        return WEIGHTS_PROCESS_MB + round(max(held, self._largest_gb(wildcards.base) * 2 * 1000))

    def vocabulary_disk_gb(self, wildcards: Any) -> int:
        """The base once more, with more rows."""
        return round(self._billions(wildcards.base) * WEIGHTS)

    def generate_api_key(self, wildcards: Any) -> int:
        """1 where a paid API is asked for rows."""
        dataset = self.params.datasets[wildcards.dataset]
        return _paid(self.params.generate[dataset.generate].base_url) if isinstance(dataset, GeneratedDataset) else 0

    def ask_api_key(self, wildcards: Any) -> int:
        """1 where a paid API is asked for rows of another kind."""
        dataset = self.params.datasets[wildcards.dataset]
        return _paid(self.params.ask[dataset.ask].base_url) if isinstance(dataset, AskedDataset) else 0

    def label_api_key(self, wildcards: Any) -> int:
        """1 where a paid API is asked for categories."""
        return _paid(self.params.label[self.params.categories[wildcards.categories].label].base_url)

    def judge_api_key(self, wildcards: Any) -> int:
        """1 where a paid API is asked for verdicts."""
        return _paid(self.params.judge[self.params.evals[wildcards.eval].judge].base_url)

    def afterwards(self, targets: list[str]) -> list[Shortage]:
        """What scoring the asked models would lack afterwards."""
        for name, table in self.params.tables.items():
            judge = self.params.judge[self.params.evals[table.eval].judge]
            wanted = {f"models/{model}" for model in table.models}
            if wanted.intersection(targets) and _paid(judge.base_url):
                return api_key_missing(f"the judge of results/tables/{name}.md ({judge.model})")
        return []
