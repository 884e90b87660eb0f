"""Any checkpoint becomes one set of lazy tensors under one spelling."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import ImageConfig, PromptConfig, QuantizedBefore
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.adapted_layout import adapt
from llava_edge.export.layouts.huggingface import open_huggingface
from llava_edge.export.layouts.llava_config import LlavaConfig
from llava_edge.export.layouts.lora import open_adapter
from llava_edge.export.layouts.opened_layout import OpenedLayout, check_tensors
from llava_edge.export.layouts.original import open_original
from llava_edge.export.layouts.tokenizer_fit import within_vocabulary
from llava_edge.export.prompts.choose_prompt import choose_prompt
from llava_edge.export.prompts.eos_ids import known_ids
from llava_edge.export.prompts.usual_prompt import Kind
from llava_edge.export.towers.vision_tower import TOWER
from llava_edge.hub.find_model import find_model


@dataclass(frozen=True)
class Checkpoint:
    """A LLaVA that is whole: `tensors` holds just what is computed with, in the right shapes."""

    folder: Path
    name: str
    config: LlavaConfig
    image: ImageConfig
    prompt: PromptConfig
    stop_ids: tuple[int, ...]  # all that end an answer
    tokenizer: Tokenizer
    tokenizer_from: Path  # its folder, or the GGUF file that holds it
    tensors: Mapping[str, LazyTensor]
    method: QuantizedBefore | None  # where the language model is quantized already
    loads_in_transformers: bool  # as it is, with nothing beside its folder
    provenance: dict[str, str]
    notes: tuple[str, ...]  # what a user should know, a sentence each
    file: Section  # config.json
    folders: tuple[Path, ...]  # that it is made of, whose settings count before those of the next
    unused: Mapping[str, LazyTensor]  # of the tower, which nothing is computed from
    unadapted: "Checkpoint | None" = None  # the same without its adapter, where it has one
    requantized: bool = False  # what was quantized already is quantized anew

    @property
    def kept(self) -> QuantizedBefore | None:
        """The method whose quantized weights are kept as they are."""
        return None if self.requantized else self.method


def open_checkpoint(
    checkpoint: Path | str,
    *,
    base: Path | str | None = None,
    vision_tower: Path | str | None = None,
    prompt: str | PromptConfig | None = None,
) -> Checkpoint:
    """Open a LLaVA in any form that is known by its content; names are folders or the hub's.

    `base` is the language model (a folder or a GGUF file) or the LLaVA that the checkpoint builds
    on, `vision_tower` the folder of its tower; without them those that the checkpoint names are
    taken, and `prompt` instead of its own format. Raises CheckpointError where anything is missing,
    does not fit or is not supported.
    """
    folder = find_model(checkpoint)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a checkpoint's folder.")
    found_base = None if base is None else find_model(base, "--base")
    tower = None if vision_tower is None else find_model(vision_tower, "--vision-tower")
    home = _home(folder, found_base)
    file = Section.from_file(home / "config.json")
    plain = source = _open(home, file, found_base if home == folder else None, tower)
    adapter = open_adapter(folder)
    if adapter is not None:
        source = adapt(plain, adapter, folder)
    local = Path(checkpoint).expanduser().exists()
    name = folder.resolve().name if local else str(checkpoint)
    text = source.config.text
    tokenizer = within_vocabulary(source.tokenizer, text.vocab_size, source.tokenizer_from)
    sources = source.chat.under(folder)
    kind = Kind(
        text.model_type,
        original=file.has("mm_vision_tower"),
        tiled=bool(source.config.grid_pinpoints),
    )
    chosen = choose_prompt(prompt, file, sources, tokenizer, kind)
    own = (tokenizer.token_to_id(token) for token in chosen.prompt.stop)
    ends = sources.eos_ids(tokenizer).union(id for id in own if id is not None)
    stop_ids, notes = known_ids(ends, text.vocab_size, tokenizer)
    opened = Checkpoint(
        folder=folder,
        name=_name(file, name),
        config=source.config,
        image=source.image,
        prompt=chosen.prompt,
        stop_ids=stop_ids,
        tokenizer=tokenizer,
        tokenizer_from=source.tokenizer_from,
        tensors=check_tensors(source.tensors, source.config, folder),
        method=source.method,
        loads_in_transformers=source.loads_in_transformers,
        provenance={"checkpoint": name, **source.provenance, "prompt": chosen.source},
        notes=chosen.notes + notes,
        file=file,
        folders=tuple(sources.paths),
        unused=_unused_of_tower(source),
    )
    return opened if adapter is None else replace(opened, unadapted=_with(opened, plain, home))


def _with(checkpoint: Checkpoint, source: OpenedLayout, folder: Path) -> Checkpoint:
    """The checkpoint with the weights of another folder."""
    return replace(
        checkpoint,
        folder=folder,
        config=source.config,
        tensors=check_tensors(source.tensors, source.config, folder),
        loads_in_transformers=source.loads_in_transformers,
    )


def _home(folder: Path, base: Path | None) -> Path:
    """The folder whose config.json describes the LLaVA: an adapter alone has its base's."""
    if (folder / "config.json").exists() or not (folder / "adapter_config.json").exists():
        return folder
    found = base or _adapters_base(folder)
    if not found.is_dir():
        raise CheckpointError(
            f"{folder} is an adapter alone, and its base {found} is a file; give the folder of "
            "the LLaVA that it was trained on with --base."
        )
    return found


def _open(
    folder: Path, file: Section, base: Path | None, vision_tower: Path | None
) -> OpenedLayout:
    """The folder's checkpoint in the layout that its config.json describes."""
    if file.has("mm_vision_tower"):
        return open_original(folder, file, base, vision_tower)
    if file.has("vision_config"):
        return open_huggingface(folder, file, base, vision_tower)
    raise CheckpointError(
        f"{file.where} has neither vision_config nor mm_vision_tower, so it describes no LLaVA; "
        "give a LLaVA checkpoint."
    )


def _unused_of_tower(source: OpenedLayout) -> dict[str, LazyTensor]:
    tower, layers = source.config.tower, source.config.feature_layers
    own = {name: t for name, t in source.tensors.items() if name.startswith(f"{TOWER}.")}
    return {name: tensor for name, tensor in own.items() if tower.is_unused(name, layers)}


def _adapters_base(folder: Path) -> Path:
    config = Section.from_file(folder / "adapter_config.json")
    name, revision = config.text("base_model_name_or_path"), config.text("revision", "")
    if revision not in ("", "main") and not Path(name).expanduser().exists():
        raise CheckpointError(
            f"{config.where} names {name} at the revision {revision} as its base; fetch that one "
            "and give its folder with --base."
        )
    return find_model(name, "--base")


def _name(file: Section, default: str) -> str:
    """What training called it, else the checkpoint's own name."""
    return file.section("llava_edge").text("name", default) if file.has("llava_edge") else default
