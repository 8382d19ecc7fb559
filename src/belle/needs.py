"""What a full-scale stage needs of a machine, by arithmetic on sizes that params.yaml states.

Estimates, good enough to refuse a laptop before any work. Entries of the tiny world (``scratch`` bases) need nothing.
Bytes per parameter follow mixed-precision AdamW: 2 for the weights, 2 for gradients, 12 for the optimizer (fp32 copy,
two moments); ZeRO-2 splits the last two over the GPUs (arXiv 1910.02054, table 1).
"""

from __future__ import annotations

from typing import Any

from belle.build.preflight import Shortage, api_key_missing
from belle.entries import AskedDataset, GeneratedDataset, HubBase, PretrainedBase, ScratchBase, TrainedModel
from belle.params import Params

WEIGHTS, GRADIENTS, OPTIMIZER = 2, 2, 12
PROCESS_MB = 4000
"""Main memory of a process that has loaded PyTorch and a batch, without the model."""
ACTIVATIONS_GB = 6.0
"""Checkpointed activations and logits of a 7B model at 2 × 1024 tokens; a margin, not a model."""
QUANTISING_GB = 6.0
"""One decoder layer, its Hessians and calibration activations."""


def _paid(base_url: str) -> int:
    """0 for the offline teacher and for servers on this machine."""
    return 0 if base_url == "offline" or "://127.0.0.1" in base_url or "://localhost" in base_url else 1


class Needs:
    """Resources of stages as functions of the rule's wildcards, in GB of 10⁹ bytes."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def _billions(self, name: str) -> float:
        """Parameters of the base under a model, in billions; 0 in the tiny world."""
        model = self.params.models.get(name.removesuffix("-gptq"))
        if model is None:
            base = self.params.bases.get(name)
            if isinstance(base, PretrainedBase):
                return self._billions(base.base)
            return base.parameters / 1e9 if isinstance(base, HubBase) else 0.0
        return self._billions(model.base if isinstance(model, TrainedModel) else model.key)

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

    def pretrain_threads(self, wildcards: Any) -> int:
        """Threads of pretraining further, as its recipe says."""
        entry = self.params.bases[wildcards.base]
        return self.params.pretrain[entry.pretrain].threads if isinstance(entry, PretrainedBase) else 1

    def pretrain_gpus(self, wildcards: Any) -> int:
        """GPUs that pretraining further takes."""
        entry = self.params.bases[wildcards.base]
        return entry.gpus if isinstance(entry, PretrainedBase) else 0

    def pretrain_gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read; None where none is asked for."""
        return self.pretrain_gpus(wildcards) or None

    def pretrain_mem_mb(self, wildcards: Any) -> int:
        """Main memory: each GPU has a process, and each loads the model."""
        a_process = PROCESS_MB + round(self._billions(wildcards.base) * WEIGHTS * 1000)
        return a_process * max(1, self.pretrain_gpus(wildcards))

    def pretrain_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of each GPU; embeddings and adapters are about a sixteenth of the parameters."""
        entry, size = self.params.bases[wildcards.base], self._billions(wildcards.base)
        if not size or not isinstance(entry, PretrainedBase):
            return 0
        recipe = self.params.pretrain[entry.pretrain]
        shared = (GRADIENTS + OPTIMIZER) / max(1, entry.gpus if recipe.deepspeed else 1)
        return round(size * (WEIGHTS + shared * (1.0 if recipe.trains == "all" else 0.06)) + ACTIVATIONS_GB)

    def pretrain_disk_gb(self, wildcards: Any) -> int:
        """The model and two checkpoints with their optimizer states."""
        return round(self._billions(wildcards.base) * (WEIGHTS + 2 * (WEIGHTS + OPTIMIZER)))

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
