"""What a full-scale stage needs of a machine, by arithmetic on sizes that params.yaml states.

Estimates, good enough to refuse a laptop before any work. Entries of the tiny world (``scratch`` bases) need nothing.
Bytes per parameter follow mixed-precision AdamW: 2 for the weights, 2 for gradients, 12 for the optimizer (fp32 copy,
two moments); ZeRO-2 splits the last two over the GPUs (arXiv 1910.02054, table 1).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from belle.build.preflight import Shortage, api_key_missing
from belle.entries import AskedDataset, GeneratedDataset, HubBase, ScratchBase, TrainedModel
from belle.params import Params
from belle.train.estimate import peak_of, settings_of
from belle.train.launch import places_of
from belle.train.memory import Shape, shape_of

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
    """Resources of stages as functions of the rule's wildcards, in GB of 10⁹ bytes.

    Raises:
        InputError: ``launch.hostfile`` is no hostfile.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        hostfile = params.launch.hostfile
        self.places = places_of(Path(hostfile)) if hostfile else []

    def _billions(self, name: str) -> float:
        """Parameters of the base under a model, in billions; 0 in the tiny world."""
        model = self.params.models.get(name.removesuffix("-gptq"))
        if model is None:
            base = self.params.bases.get(name)
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
        """Threads of fine-tuning, as its recipe says; on a CPU of all its processes."""
        entry = self.params.models[wildcards.model]
        if not isinstance(entry, TrainedModel):
            return 1
        recipe = self.params.sft[entry.sft]
        return recipe.threads * (1 if entry.gpus else recipe.devices)

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
        """Main memory of fine-tuning on a host: each GPU has a process that loads the model, and what is offloaded."""
        trained = self.training(wildcards.model)
        a_process = PROCESS_MB + round(peak_of(*trained).host / 1e6) if trained else self.mem_mb(wildcards)
        return a_process * max(1, self.sft_gpus(wildcards))

    def sft_gpus(self, wildcards: Any) -> int:
        """GPUs that fine-tuning takes on one host, of those of a hostfile the one that it takes most of."""
        entry = self.params.models[wildcards.model]
        gpus = entry.gpus if isinstance(entry, TrainedModel) else 0
        return min(gpus, max(place.slots for place in self.places)) if self.places else gpus

    def training(self, model: str) -> tuple[dict[str, Any], Shape, int] | None:
        """Settings, shape and GPUs of a full-scale fine-tuning; None for any other model."""
        entry, size = self.params.models[model], self._billions(model)
        if not size or not isinstance(entry, TrainedModel):
            return None
        return settings_of(self.params.sft[entry.sft]), shape_of(size * 1e9), max(1, entry.gpus)

    def sft_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of each GPU while fine-tuning, at its peak."""
        trained = self.training(wildcards.model)
        return math.ceil(peak_of(*trained).peak / 1e9) if trained else 0

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
