"""Fully sharded data parallelism: each process holds a part of every layer (FSDP2)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.optim import Optimizer

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
SPREAD = StateDictOptions(
    full_state_dict=True, broadcast_from_rank0=True, ignore_frozen_params=True, strict=False
)


def shard(
    model: nn.Module, layers: list[nn.Module], device: torch.device, dtype: torch.dtype
) -> None:
    """Shard each layer by itself, and the rest of the model together, over all processes.

    Layers are gathered in `dtype`, in which products are computed: no layer is ever whole in
    fp32, and half as much is sent. The parts, the optimizer's states and the sums of gradients
    stay in fp32.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, mp_policy=policy)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What learns, in one piece on the CPU of the first process; every process must call this."""
    state: dict[str, Tensor] = get_model_state_dict(model, options=WHOLE)
    own = dict(model.named_parameters())  # where a tied head and embeddings are one
    return {name: tensor for name, tensor in state.items() if name in own}


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give each process its part of what the first process read."""
    set_model_state_dict(model, state, options=SPREAD)


def save_optimizer(model: nn.Module, optimizer: Optimizer, path: Path, *, write: bool) -> None:
    """Write the optimizer's state in one piece, by the parameters' names."""
    state = get_optimizer_state_dict(model, optimizer, options=WHOLE)
    if write:
        torch.save(state, path)


def load_optimizer(model: nn.Module, optimizer: Optimizer, path: Path) -> None:
    """Read what `save_optimizer` wrote, or the state of an optimizer that was not sharded."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    set_optimizer_state_dict(model, optimizer, _named(state, model, optimizer), options=SPREAD)


def _named(state: dict[str, Any], model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The state by the parameters' names; without shards torch numbers them, group by group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]

    def name(key: str | int) -> str:
        return order[key] if isinstance(key, int) else key

    return {
        "state": {name(key): values for key, values in state["state"].items()},
        "param_groups": [
            {**group, "params": [name(key) for key in group["params"]]}
            for group in state["param_groups"]
        ],
    }
