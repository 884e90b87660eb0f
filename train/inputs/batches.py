"""Which records are computed together: a stage's batches, the same on any number of devices."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from llava_edge.train.recipe import Stage

GROUPED = 50  # batches that are sorted by length at a time, as in LLaVA's own sampler
Indexes = NDArray[np.int64]


@dataclass(frozen=True)
class Devices:
    """How many processes train together, and which one this is."""

    count: int = 1
    rank: int = 0


class StageBatches(Sampler[list[int]]):
    """The micro-batches of one process over a whole stage, all its epochs in a row.

    A step's records are drawn by the seed alone: the number of processes and of accumulated
    micro-batches decides who computes them, not which they are. Without packing, records of
    similar length and kind (with pictures or without) share a step. Where no record is left for
    a micro-batch it is -1, which stands for record 0 without labels.
    """

    def __init__(
        self,
        lengths: Indexes,
        pictured: NDArray[np.bool_],
        stage: Stage,
        seed: int,
        devices: Devices,
    ) -> None:
        self._lengths = lengths
        self._pictured = pictured
        self._stage = stage
        self._seed = seed
        self._devices = devices
        self._micro_batches = devices.count * stage.split(devices.count)[1]

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return steps_of(self._stage, len(self._lengths))

    def __len__(self) -> int:
        return self.steps * self._micro_batches // self._devices.count

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._step_records():
            shares = self._share(step)
            yield from shares[self._devices.rank :: self._devices.count]

    def _step_records(self) -> Iterator[Indexes]:
        size = self._stage.batch_size
        for epoch, records in enumerate(_epochs(self._stage, len(self._lengths))):
            order = self._order(epoch)[:records]
            yield from (order[begin : begin + size] for begin in range(0, records, size))

    def _order(self, epoch: int) -> Indexes:
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self._lengths))
        return order if self._stage.packing else self._grouped(order, random)

    def _grouped(self, order: Indexes, random: np.random.Generator) -> Indexes:
        """Batches of records of similar length, with or without pictures, in random order."""
        size = self._stage.batch_size
        batches: list[Indexes] = []
        rest: list[Indexes] = []
        for kind in (self._pictured[order], ~self._pictured[order]):
            own = order[kind]
            for begin in range(0, len(own), GROUPED * size):
                group = own[begin : begin + GROUPED * size]
                group = group[np.argsort(-self._lengths[group], kind="stable")]
                batches += [group[at : at + size] for at in range(0, len(group), size)]
            if batches and len(batches[-1]) < size:
                rest.append(batches.pop())
        shuffled = [batches[at] for at in random.permutation(len(batches))]
        return np.concatenate([*shuffled, *rest])

    def _share(self, records: Indexes) -> list[list[int]]:
        """A step's micro-batches; each has about the same number of tokens."""
        longest_first = records[np.argsort(-self._lengths[records], kind="stable")]
        shares: list[list[int]] = [[] for _ in range(self._micro_batches)]
        for position, record in enumerate(longest_first.tolist()):
            turn, place = divmod(position, self._micro_batches)
            shares[place if turn % 2 == 0 else -1 - place].append(record)
        return [share or [-1] for share in shares]


def steps_of(stage: Stage, records: int) -> int:
    """Optimizer steps over so many records an epoch; the last epoch may be a part of one."""
    return sum(-(-part // stage.batch_size) for part in _epochs(stage, records))


def in_order(records: int, size: int, devices: Devices) -> list[list[int]]:
    """One process's batches of all records, each record in just one process.

    Every process has the same number of batches, since sharded models are gathered batch by
    batch; a process that has no record left computes -1.
    """
    own = range(devices.rank, records, devices.count)
    batches = -(-records // (size * devices.count))
    return [list(own[at * size : (at + 1) * size]) or [-1] for at in range(batches)]


def _epochs(stage: Stage, records: int) -> list[int]:
    """How many records each epoch takes; the last one may be a part."""
    whole = int(stage.epochs)
    part = round((stage.epochs - whole) * records)
    return [records] * whole + ([part] if part else []) or [1]
