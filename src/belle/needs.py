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
from belle.entries import (
    AskedDataset,
    ConvertedBase,
    ExpandedBase,
    GeneratedDataset,
    HubBase,
    JudgedPairs,
    MergedModel,
    ReinforcedModel,
    ScratchBase,
)  # fmt: skip
from belle.params import Params, named, width
from belle.settings import Ppo
from belle.train.estimate import peak_of, settings_of
from belle.train.memory import Shape, shape_of
from belle.train.places import places_of

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

    def train_threads(self, wildcards: Any) -> int:
        """Threads of a training, as its recipe says; on a CPU of all its processes."""
        found = self.params.trained_by(named(wildcards))
        return found.recipe.threads * (1 if found.gpus else found.recipe.devices) if found else 1

    def gptq_threads(self, wildcards: Any) -> int:
        """Threads of quantising."""
        return self.params.gptq.threads

    def answer_threads(self, wildcards: Any) -> int:
        """Threads of answering, as its recipe says."""
        return self.params.answer[self.params.evals[wildcards.eval].answer].threads

    def train_gpu(self, wildcards: Any) -> int | None:
        """The GPUs of a training by the name that Snakemake's executors read; None where none is asked for."""
        return self.train_gpus(wildcards) or None

    def train_mem_mb(self, wildcards: Any) -> int:
        """Main memory of a training on a host: each GPU has a process that loads the model, and what is offloaded."""
        name = named(wildcards)
        trained = self.training(name)
        size = peak_of(*trained).host / 1e6 if trained else self._billions(self._under(name)) * WEIGHTS * 1000
        return (PROCESS_MB + round(size)) * max(1, self.train_gpus(wildcards))

    def train_gpus(self, wildcards: Any) -> int:
        """GPUs that a training takes on one host, of those of a hostfile the one that it takes most of."""
        found = self.params.trained_by(named(wildcards))
        gpus = found.gpus if found else 0
        return min(gpus, max(place.slots for place in self.places)) if self.places else gpus

    def _under(self, name: str) -> str:
        """What a reward model is trained from; any other name is known to the registry of parameters itself."""
        entry = self.params.rewards.get(name)
        return entry.base if entry else name

    def training(self, name: str) -> tuple[dict[str, Any], Shape, int] | None:
        """Settings, shape and GPUs of a full-scale training; None for any other entry."""
        found, size = self.params.trained_by(name), self._billions(self._under(name))
        if not size or found is None:
            return None
        return settings_of(found.recipe), shape_of(size * 1e9), max(1, found.gpus)

    def train_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of each GPU while training, at its peak."""
        trained = self.training(named(wildcards))
        return math.ceil(peak_of(*trained).peak / 1e9) if trained else 0

    def train_disk_gb(self, wildcards: Any) -> int:
        """The model and two checkpoints with their optimizer states; under LoRA those hold next to nothing."""
        name = named(wildcards)
        found = self.params.trained_by(name)
        adapters = found is not None and found.stage == "dpo" and settings_of(found.recipe)["lora_r"] > 0
        states = 2 * (WEIGHTS + OPTIMIZER) * (0.01 if adapters else 1.0)
        return round(self._billions(self._under(name)) * (WEIGHTS + states))

    def _weigher_billions(self, wildcards: Any) -> float:
        return self._billions(self.params.weighers[wildcards.weigher].base)

    def weigh_threads(self, wildcards: Any) -> int:
        """Threads of weighing rows, as its recipe says."""
        return self.params.weigh[self.params.weighers[wildcards.weigher].weigh].threads

    def weigh_gpus(self, wildcards: Any) -> int:
        """GPUs that weighing rows takes."""
        return 1 if self._weigher_billions(wildcards) else 0

    def weigh_gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read; None where no GPU is asked for."""
        return self.weigh_gpus(wildcards) or None

    def weigh_mem_mb(self, wildcards: Any) -> int:
        """Main memory of weighing rows: the weights on their way to the GPU."""
        return PROCESS_MB + round(self._weigher_billions(wildcards) * WEIGHTS * 1000)

    def weigh_gpu_memory_gb(self, wildcards: Any) -> int:
        """Weights, the states of every layer of one row, and its logits over the vocabulary."""
        size = self._weigher_billions(wildcards)
        return round(size * WEIGHTS + 2) if size else 0

    def weigh_disk_gb(self, wildcards: Any) -> int:
        """Arrays of the rows and what is kept of them: 600 bytes a row each, of 3.5 million rows."""
        return 4 if self._weigher_billions(wildcards) else 0

    def release_disk_gb(self, wildcards: Any) -> int:
        """A released model, decrypted or recovered."""
        return round(self._billions(wildcards.model) * WEIGHTS)

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

    def sample_threads(self, wildcards: Any) -> int:
        """Threads of drawing answers, as its recipe says."""
        return self.params.sample[self._judged(wildcards).sample].threads

    def sample_gpus(self, wildcards: Any) -> int:
        """GPUs that drawing answers takes."""
        return 1 if self._billions(self._judged(wildcards).model) else 0

    def sample_gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read."""
        return self.sample_gpus(wildcards) or None

    def sample_gpu_memory_gb(self, wildcards: Any) -> int:
        """Weights and the key-value cache of one batch."""
        size = self._billions(self._judged(wildcards).model)
        return round(size * WEIGHTS + 4) if size else 0

    def sample_mem_mb(self, wildcards: Any) -> int:
        """Main memory of drawing answers."""
        return PROCESS_MB + round(self._billions(self._judged(wildcards).model) * WEIGHTS * 1000)

    def prefer_api_key(self, wildcards: Any) -> int:
        """1 where a paid API is asked for verdicts on drawn answers."""
        return _paid(self.params.prefer[self._judged(wildcards).prefer].base_url)

    def _judged(self, wildcards: Any) -> JudgedPairs:
        entry = self.params.pairs[wildcards.pairs]
        assert isinstance(entry, JudgedPairs)
        return entry

    def _reinforced(self, wildcards: Any) -> tuple[float, ReinforcedModel, Ppo]:
        entry = self.params.models[wildcards.model]
        assert isinstance(entry, ReinforcedModel)
        return self._billions(entry.base), entry, self.params.ppo[entry.ppo]

    def ppo_threads(self, wildcards: Any) -> int:
        """Threads of reinforcement, as its recipe says."""
        return self._reinforced(wildcards)[2].threads

    def ppo_gpus(self, wildcards: Any) -> int:
        """GPUs that reinforcement takes: one at the most."""
        return self._reinforced(wildcards)[1].gpus

    def ppo_gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read."""
        return self.ppo_gpus(wildcards) or None

    def ppo_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of the GPU: policy, gradients and optimizer, its base and the reward model beside them.

        Under LoRA the base is the policy without adapters; the value head is one row of numbers.
        """
        size, entry, recipe = self._reinforced(wildcards)
        if not size:
            return 0
        adapters = recipe.lora_r > 0
        beside = self._billions(self.params.rewards[entry.reward].base) + (0.0 if adapters else size)
        tokens = recipe.mini_batch_size * (recipe.max_prompt_length + recipe.max_new_tokens)
        states = size * (GRADIENTS + OPTIMIZER) * (0.01 if adapters else 1.0)
        return round((size + beside) * WEIGHTS + states + ACTIVATIONS_GB * max(1.0, tokens / 2048))

    def ppo_mem_mb(self, wildcards: Any) -> int:
        """Main memory: the model and a reward model on their way to the GPU."""
        return PROCESS_MB + round(self._reinforced(wildcards)[0] * 2 * WEIGHTS * 1000)

    def ppo_disk_gb(self, wildcards: Any) -> int:
        """The model and two checkpoints with their optimizer states; under LoRA those hold next to nothing."""
        size, _, recipe = self._reinforced(wildcards)
        return round(size * (WEIGHTS + 2 * (WEIGHTS + OPTIMIZER) * (0.01 if recipe.lora_r else 1.0)))

    def afterwards(self, targets: list[str]) -> list[Shortage]:
        """What scoring the asked models would lack afterwards."""
        for name, table in self.params.tables.items():
            judge = self.params.judge[self.params.evals[table.eval].judge]
            wanted = {f"models/{model}" for model in table.models}
            if wanted.intersection(targets) and _paid(judge.base_url):
                return api_key_missing(f"the judge of results/tables/{name}.md ({judge.model})")
        return []
