"""The projector's warm start: an object's rows learn to be nearest to the word of its name.

It runs before stage 1, without the language model, on records that say where their objects are. It
is an addition to the paper's stage 1, not a replacement.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llava_edge.data.record_types import LabelledBox, Record
from llava_edge.errors import TrainingError
from llava_edge.train.inputs.picture_features import Features, pixels_of
from llava_edge.train.models.learner import Learner, tower_rows
from llava_edge.train.recipe import WarmStart
from llava_edge.train.watch.terminal_bars import track

BACKGROUND = "background"  # the word for rows in no box
SHARPNESS = 20.0  # of the softmax over cosines


def warm_start(
    learner: Learner, settings: WarmStart, records: Iterable[Record], features: Features | None
) -> float:
    """Train the projector on labelled rows, in place; returns the last epoch's accuracy (0..1).

    Of the records those are used that have one picture and name its objects. Raises
    TrainingError if there are none.
    """
    records = [record for record in records if record.objects and len(record.images) == 1]
    if not records:
        raise TrainingError(
            f"The warm start's records ({settings.data[0].records[0]}) name no objects; give each "
            "record a list of objects with name and box, or leave out the warm start."
        )
    names = [BACKGROUND, *sorted({item.name for record in records for item in record.objects})]
    words = _word_embeddings(learner, names)  # [names, D]
    rows, labels = _labelled_rows(learner, records, names, features)
    projector = learner.model.model.multi_modal_projector
    accuracy = _fit(projector, rows, labels, words - words.mean(0), settings)
    _put_at_the_words(projector, rows, words)
    return accuracy


def _word_embeddings(learner: Learner, names: Sequence[str]) -> Tensor:
    table = learner.model.get_input_embeddings().weight.detach().float()
    ids = [learner.encoding.tokenizer.encode([(" " + name, False)]) for name in names]
    return torch.stack([table[row].mean(0) for row in ids])


@torch.no_grad()
def _labelled_rows(
    learner: Learner, records: Sequence[Record], names: Sequence[str], kept: Features | None
) -> tuple[Tensor, Tensor]:
    """The tower's rows [rows, C] of all pictures and the index of the name each one shows.

    Of a picture in tiles, its first view is taken, which shows the whole.
    """
    index = {name: position for position, name in enumerate(names)}
    side = round(learner.encoding.image_tokens**0.5)
    labels = torch.stack([_label_map(record.objects, index, side) for record in records])  # [n, T]
    labelled = labels >= 0
    rows, filled = torch.empty(0), 0
    for start in track(range(0, len(records), 16), "Features for the warm start"):
        found = _rows(learner, records[start : start + 16], kept)[labelled[start : start + 16]]
        if not len(rows):  # one allocation, since it is most of the memory
            rows = found.new_empty(int(labelled.sum()), found.shape[-1])
        rows[filled : filled + len(found)] = found
        filled += len(found)
    return rows, labels[labelled]


def _rows(learner: Learner, records: Sequence[Record], kept: Features | None) -> Tensor:
    if kept is not None:
        return torch.stack([kept[record.images[0]][0] for record in records])
    views, where = learner.encoding.views, {r.images[0]: f"Record {r.id}" for r in records}
    pixels = [pixels_of(record.images[0], views, where.__getitem__)[0] for record in records]
    return tower_rows(learner.model, torch.stack(pixels)).cpu()


def _label_map(objects: Sequence[LabelledBox], index: dict[str, int], side: int) -> Tensor:
    """The name at each of side x side rows: of the box around its centre, else the background.

    Rows that a box only touches are -1: they are not used.
    """
    labels = torch.zeros(side, side, dtype=torch.long)
    centres = (torch.arange(side) + 0.5) / side
    for item in objects:
        left, top, right, bottom = item.box
        margin = 0.5 / side
        across = (centres > left - margin) & (centres < right + margin)
        down = (centres > top - margin) & (centres < bottom + margin)
        near = down[:, None] & across[None, :]
        labels[near & (labels == 0)] = -1
    for item in objects:
        left, top, right, bottom = item.box
        across = (centres > left) & (centres < right)
        down = (centres > top) & (centres < bottom)
        labels[down[:, None] & across[None, :]] = index[item.name]
    return labels.flatten()


def _fit(
    projector: nn.Module, rows: Tensor, labels: Tensor, words: Tensor, settings: WarmStart
) -> float:
    """Cross-entropy over the cosines between projected rows and the centred words."""
    words = F.normalize(words, dim=-1)
    steps = settings.epochs * -(-len(rows) // settings.batch_size)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps
    )
    # The background's rows are most of all; without weights they would be most of the loss.
    weights = torch.ones(len(words))
    weights[0] = 0.2
    right = 0
    for _ in track(range(settings.epochs), "Warm start"):
        right = 0
        for batch in torch.randperm(len(rows)).split(settings.batch_size):
            with torch.autocast("cpu", rows.dtype, enabled=rows.dtype != torch.float32):
                projected = projector(F.dropout(rows[batch], 0.1))
            scores = F.normalize(projected.float(), dim=-1) @ words.T  # [batch, names]
            loss = F.cross_entropy(SHARPNESS * scores, labels[batch], weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            right += int((scores.argmax(-1) == labels[batch]).sum())
    return right / len(rows)


@torch.no_grad()
def _put_at_the_words(projector: nn.Module, rows: Tensor, words: Tensor) -> None:
    """Scale and shift the last layer, so that rows lie among the words and are about as long."""
    last = getattr(projector, "linear_2", None) or projector.linear_1
    centre = words.mean(0)
    sample = projector(rows[:: max(1, len(rows) // 4096)].float())
    scale = (words - centre).norm(dim=-1).mean() / sample.norm(dim=-1).mean()
    last.weight.mul_(scale)
    last.bias.mul_(scale).add_(centre)
