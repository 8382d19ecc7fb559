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
    PreferredModel,
    PretrainedBase,
    ReinforcedModel,
    RewardModel,
    ScratchBase,
    TrainedModel,
)  # fmt: skip
from belle.params import Params, width
from belle.settings import Dpo, Ppo, Reward
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

    def _aligned(self, wildcards: Any) -> tuple[float, int, Reward | Dpo | Ppo]:
        """Billions of parameters, GPUs and recipe of a reward model, or of a model trained by preferences."""
        reward = getattr(wildcards, "reward", None)
        entry = self.params.rewards[reward] if reward else self.params.models[wildcards.model]
        assert isinstance(entry, RewardModel | PreferredModel | ReinforcedModel)
        recipe: Reward | Dpo | Ppo
        if isinstance(entry, RewardModel):
            recipe = self.params.reward[entry.reward]
        else:
            recipe = self.params.dpo[entry.dpo] if isinstance(entry, PreferredModel) else self.params.ppo[entry.ppo]
        return self._billions(entry.base), entry.gpus, recipe

    def align_threads(self, wildcards: Any) -> int:
        """Threads of training by preferences, as its recipe says."""
        return self._aligned(wildcards)[2].threads

    def align_gpus(self, wildcards: Any) -> int:
        """GPUs that training by preferences takes."""
        return self._aligned(wildcards)[1]

    def align_gpu(self, wildcards: Any) -> int | None:
        """The same by the name that Snakemake's executors read."""
        return self.align_gpus(wildcards) or None

    def align_gpu_memory_gb(self, wildcards: Any) -> int:
        """Memory of each GPU: policy, gradients and optimizer; for PPO its base and the reward model beside them.

        DPO keeps its base's log-probabilities instead of the base; under LoRA the base is the policy without adapters;
        the value head is one row of numbers. A pair is two sequences.
        """
        size, gpus, recipe = self._aligned(wildcards)
        if not size:
            return 0
        adapters = not isinstance(recipe, Reward) and recipe.lora_r > 0
        trained = 0.01 if adapters else 1.0
        if isinstance(recipe, Ppo):
            entry = self.params.models[wildcards.model]
            assert isinstance(entry, ReinforcedModel)
            beside = self._billions(self.params.rewards[entry.reward].base) + (0.0 if adapters else size)
            tokens = recipe.mini_batch_size * (recipe.max_prompt_length + recipe.max_new_tokens)
            shared, weights = float(GRADIENTS + OPTIMIZER), size + beside
        else:
            tokens = 2 * recipe.per_device_train_batch_size * recipe.max_length
            shared, weights = (GRADIENTS + OPTIMIZER) / max(1, gpus if recipe.deepspeed else 1), size
        return round(weights * WEIGHTS + size * shared * trained + ACTIVATIONS_GB * max(1.0, tokens / 2048))

    def align_mem_mb(self, wildcards: Any) -> int:
        """Main memory: each GPU has a process, and each loads the model; for PPO a reward model, too."""
        size, gpus, recipe = self._aligned(wildcards)
        models = 2 if isinstance(recipe, Ppo) else 1
        return (PROCESS_MB + round(size * models * WEIGHTS * 1000)) * max(1, gpus)

    def align_disk_gb(self, wildcards: Any) -> int:
        """The model and two checkpoints with their optimizer states; under LoRA those hold next to nothing."""
        size, _, recipe = self._aligned(wildcards)
        adapters = not isinstance(recipe, Reward) and recipe.lora_r > 0
        return round(size * (WEIGHTS + 2 * (WEIGHTS + OPTIMIZER) * (0.01 if adapters else 1.0)))

    def afterwards(self, targets: list[str]) -> list[Shortage]:
        """What scoring the asked models would lack afterwards."""
        for name, table in self.params.tables.items():
            judge = self.params.judge[self.params.evals[table.eval].judge]
            wanted = {f"models/{model}" for model in table.models}
            if wanted.intersection(targets) and _paid(judge.base_url):
                return api_key_missing(f"the judge of results/tables/{name}.md ({judge.model})")
        return []
