"""What a stage needs of a device's memory, calculated from the shapes of the model's parts."""

from dataclasses import dataclass, fields
from typing import Literal

from llava_edge.data.picture_folder import PictureFile
from llava_edge.errors import PictureError
from llava_edge.train.inputs.picture_views import PictureViews
from llava_edge.train.models.linear_cross_entropy import rows_at_once
from llava_edge.train.models.tower_shape import TowerShape
from llava_edge.train.recipe import Lora, Stage

FP32 = 4  # bytes
NF4_BLOCK = 64  # weights that share a scale (arXiv 2305.14314)
NF4_SCALES = 256  # scales that share a scale of their own, in fp32
NF4_TABLES = (16 + NF4_SCALES + 1) * FP32  # of each matrix: two code books and an offset
EIGHT_BIT_BLOCK = 256  # values of an 8-bit optimizer state that share a scale, in fp32

Learning = Literal["frozen", "lora", "full"]


@dataclass(frozen=True)
class DecoderShape:
    """The language model: `linears` are its layers' matrices (rows, columns), without the head."""

    hidden_size: int
    layers: int
    heads: int
    query_size: int  # heads x their size
    kv_size: int  # of the keys alone
    mlp_size: int
    vocab_size: int
    positions: int | None  # that it was made for, where its configuration says so
    parameters: int  # all, the head and the embeddings too
    linears: tuple[tuple[int, int], ...]

    @property
    def in_layers(self) -> int:
        """The parameters in the layers' matrices; all others are few, or in large tables."""
        return sum(rows * columns for rows, columns in self.linears)

    @property
    def head(self) -> int:
        """The values of the head's matrix."""
        return self.vocab_size * self.hidden_size


@dataclass(frozen=True)
class ModelShape:
    """The shapes of a LLaVA's three parts."""

    decoder: DecoderShape
    tower: TowerShape
    projector_parameters: int  # with tiles the newline too
    projector_layers: int
    views: PictureViews | None = None

    def count_views(self, picture: PictureFile) -> int:
        """How often the tower is run for a picture; for one that is broken, as for the largest."""
        try:
            return self.views.count(picture) if self.views else 1
        except PictureError:
            return self.most_views

    @property
    def most_views(self) -> int:
        """How often the tower is run for the largest picture."""
        return self.views.most if self.views else 1

    @property
    def parameters(self) -> int:
        """The parameters of all parts, without adapters."""
        return self.decoder.parameters + self.tower.parameters + self.projector_parameters


@dataclass(frozen=True)
class Batch:
    """What a device computes at once: records, their tokens, and how many of these are labelled."""

    records: int
    tokens: int  # of each record
    labelled: int


@dataclass(frozen=True)
class StageMemory:
    """Bytes on one device; what the driver and the allocator keep for themselves is not counted."""

    weights: int
    casts: int  # copies of fp32 weights in the precision of products
    gradients: int
    optimizer: int
    exchange: int  # between devices: copies of gradients, or layers gathered from their parts
    activations: int  # of the projector and the language model, kept for the backward pass
    tower: int  # activations of a frozen tower
    head: int  # a chunk of logits, and the gradients that are computed with the loss
    again: int  # the insides of a layer that is computed again

    @property
    def total(self) -> int:
        """Everything that is kept, and the largest of what is held in turn."""
        in_turn = (self.tower, self.head, self.again)
        kept: int = sum(getattr(self, field.name) for field in fields(self)) - sum(in_turn)
        return kept + max(in_turn)


def learning(stage: Stage) -> Learning:
    """How the language model takes part in a stage."""
    if not stage.language_model_lr:
        return "frozen"
    return "lora" if stage.lora else "full"


def tower_learning(stage: Stage) -> Learning:
    """How the vision tower takes part in a stage."""
    if not stage.vision_tower_lr:
        return "frozen"
    return "lora" if stage.vision_tower_lora else "full"


def trained_parameters(shape: ModelShape, stage: Stage) -> int:
    """How many values the stage's optimizer moves."""
    projector = shape.projector_parameters if stage.projector_lr else 0
    decoder = shape.decoder.parameters if learning(stage) == "full" else 0
    tower = shape.tower.parameters if tower_learning(stage) == "full" else 0
    adapters = adapter_parameters(shape.decoder, stage) + tower_adapter_parameters(shape, stage)
    return projector + decoder + tower + adapters


def adapter_parameters(decoder: DecoderShape, stage: Stage) -> int:
    """For each linear layer two matrices, rows x rank and rank x columns."""
    return _adapters(decoder.linears, stage.lora)


def tower_adapter_parameters(shape: ModelShape, stage: Stage) -> int:
    """The same for the tower's layers."""
    return _adapters(shape.tower.linears, stage.vision_tower_lora)


def _adapters(linears: tuple[tuple[int, int], ...], lora: Lora | None) -> int:
    return lora.rank * sum(rows + columns for rows, columns in linears) if lora else 0


def estimate(
    shape: ModelShape,
    stage: Stage,
    batch: Batch,
    *,
    width: int = 2,
    devices: int = 1,
    sharded: bool = False,
) -> StageMemory:
    """The memory of one device in a stage whose products are computed in `width` bytes a value.

    With `sharded`, each device holds its part of weights, gradients and optimizer states.
    """
    trained = trained_parameters(shape, stage)
    parts = devices if sharded else 1
    residual = FP32 if learning(stage) == "full" and not sharded else width
    return StageMemory(
        weights=weight_bytes(shape, stage, width) // parts,
        casts=0 if sharded else cast_bytes(shape, stage, width),
        gradients=trained * FP32 // parts,
        optimizer=optimizer_bytes(trained, stage) // parts,
        exchange=_exchange(shape, stage, width, devices, sharded),
        activations=projector_activations(shape, batch, width)
        + (0 if tower_learning(stage) == "frozen" else tower_bytes(shape, stage, batch, width))
        + decoder_activations(shape.decoder, stage, batch, width, residual),
        tower=tower_bytes(shape, stage, batch, width) if tower_learning(stage) == "frozen" else 0,
        head=head_bytes(shape.decoder, stage, batch, width),
        again=again_bytes(shape.decoder, stage, batch, width, residual),
    )


def weight_bytes(shape: ModelShape, stage: Stage, width: int) -> int:
    """What learns, and the projector, is held in fp32; what is frozen in `width` bytes or nf4."""
    decoder = shape.decoder
    other = shape.tower.parameters * (FP32 if tower_learning(stage) == "full" else width)
    adapters = adapter_parameters(decoder, stage) + tower_adapter_parameters(shape, stage)
    other += (shape.projector_parameters + adapters) * FP32
    if learning(stage) == "full":
        return other + decoder.parameters * FP32
    if stage.quantize is None:
        return other + decoder.parameters * width
    kept = decoder.parameters - decoder.in_layers  # embeddings, norms and the head
    nf4 = sum(nf4_bytes(rows * columns) for rows, columns in decoder.linears)
    return other + kept * width + nf4


def cast_bytes(shape: ModelShape, stage: Stage, width: int) -> int:
    """Copies of fp32 matrices in the type in which products are computed.

    A layer keeps them for its backward pass; a layer that is computed again, until its forward
    pass ends.
    """
    if width == FP32:
        return 0
    decoder = shape.decoder
    kept = max(decoder.layers - recomputed(decoder, stage), 1)
    full = learning(stage) == "full"
    of_layers = decoder.in_layers if full else adapter_parameters(decoder, stage)
    other = shape.projector_parameters + (decoder.head if full else 0)
    other += shape.tower.parameters if tower_learning(stage) == "full" else 0
    other += tower_adapter_parameters(shape, stage)
    return (of_layers * kept // decoder.layers + other) * width


def _exchange(shape: ModelShape, stage: Stage, width: int, devices: int, sharded: bool) -> int:
    if devices == 1:
        return 0
    trained = trained_parameters(shape, stage)
    if not sharded:
        return trained * FP32
    # Whole are the layer that is computed and the next, and what is in no layer from first to last.
    decoder = shape.decoder
    layer = (decoder.in_layers + adapter_parameters(decoder, stage)) // decoder.layers
    gathered = shape.parameters - decoder.in_layers + 2 * layer
    # So are a layer's gradients as they were computed, and in fp32 as they are summed up.
    summed = layer if learning(stage) == "full" else 0
    return gathered * width + summed * (width + FP32)


def nf4_bytes(values: int) -> int:
    """A matrix in bitsandbytes' nf4: half a byte a weight, and 8-bit scales with their own."""
    scales = -(-values // NF4_BLOCK)
    return -(-values // 2) + scales + -(-scales // NF4_SCALES) * FP32 + NF4_TABLES


def optimizer_bytes(trained: int, stage: Stage) -> int:
    """AdamW's two states of each value, in fp32 or in 8 bits with a scale a block."""
    if stage.optimizer == "adamw":
        return 2 * trained * FP32
    return 2 * (trained + -(-trained // EIGHT_BIT_BLOCK) * FP32)


def recomputed(decoder: DecoderShape, stage: Stage) -> int:
    """How many layers compute their insides again in the backward pass."""
    if stage.gradient_checkpointing is True:
        return decoder.layers
    return min(int(stage.gradient_checkpointing), decoder.layers)


def decoder_activations(
    decoder: DecoderShape, stage: Stage, batch: Batch, width: int, residual: int
) -> int:
    """What the layers keep for the backward pass; `residual` bytes a value pass between them.

    A layer that is computed again keeps its input alone.
    """
    inputs = recomputed(decoder, stage)
    layers = (decoder.layers - inputs) * _layer_bytes(decoder, stage, width, residual)
    learns = residual if learning(stage) == "full" else 0
    last_norm = decoder.hidden_size * (FP32 + learns) + FP32
    kept = inputs * decoder.hidden_size * residual + layers + last_norm
    return batch.records * batch.tokens * kept


def again_bytes(
    decoder: DecoderShape, stage: Stage, batch: Batch, width: int, residual: int
) -> int:
    """The insides of a layer that is computed again, when those of later layers are freed."""
    if recomputed(decoder, stage) < decoder.layers:
        return 0
    return batch.records * batch.tokens * _layer_bytes(decoder, stage, width, residual)


def _layer_bytes(decoder: DecoderShape, stage: Stage, width: int, residual: int) -> int:
    """For one token in one layer: RMSNorm in fp32, attention without scores, a gated MLP.

    A matrix that learns keeps its input, and an adapter's two matrices keep theirs.
    """
    hidden, query, mlp = decoder.hidden_size, decoder.query_size, decoder.mlp_size
    norms = 2 * (hidden + 1) * FP32  # input and scale
    attention = (2 * query + 2 * decoder.kv_size) * width + decoder.heads * FP32  # q, k, v, out
    products = 3 * mlp * width  # gate, its activation, up
    kept = norms + attention + products
    if learning(stage) == "full":
        copies = 5 if width < residual else 2  # a cast for each of q, k, v, gate, up
        kept += 2 * hidden * residual + (copies * hidden + mlp) * width
    elif stage.lora and learning(stage) == "lora":
        kept += 7 * stage.lora.rank * width
        if stage.lora.dropout:  # what was dropped differs in each of seven: values and a mask
            kept += (5 * hidden + query + mlp) * (width + 1)
        else:
            kept += (2 * hidden + mlp) * width
    return kept


def tower_bytes(shape: ModelShape, stage: Stage, batch: Batch, width: int) -> int:
    """What the tower's passes leave: where it learns, also the insides of its layers."""
    again = stage.gradient_checkpointing is True
    learns = tower_learning(stage) != "frozen" and not again
    values = shape.tower.kept if learns else shape.tower.activations
    return batch.records * shape.most_views * values * width


def projector_activations(shape: ModelShape, batch: Batch, width: int) -> int:
    """For each picture's tokens the projector's input and, if it has two layers, its insides."""
    inside = 2 * shape.decoder.hidden_size if shape.projector_layers > 1 else 0
    rows = batch.records * shape.most_views * shape.tower.image_tokens
    return rows * (shape.tower.channels + inside) * width


def head_bytes(decoder: DecoderShape, stage: Stage, batch: Batch, width: int) -> int:
    """What the head's loss takes.

    A chunk of logits as they are computed, in fp32 and as log-probabilities; the labelled rows and
    their gradient; where the head learns, its gradient and what a chunk adds to it.
    """
    labelled = batch.records * batch.labelled
    chunk = min(labelled, rows_at_once(decoder.vocab_size))
    copies = 2 * FP32 + (width if width < FP32 else 0)
    rows = 2 * labelled * decoder.hidden_size * width
    own = decoder.head * (FP32 + width) if learning(stage) == "full" else 0
    return chunk * decoder.vocab_size * copies + rows + own


def feature_bytes(tower: TowerShape, views: int, width: int) -> int:
    """The tower's rows for so many views of pictures, as they are kept on disk."""
    return views * tower.image_tokens * tower.channels * width
