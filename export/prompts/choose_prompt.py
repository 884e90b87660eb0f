"""Which prompt format a bundle gets: the one asked for, the checkpoint's own, or the usual one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt import PROMPTS
from llava_edge.core.saved_prompt import read_saved_prompt
from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError, UsageError
from llava_edge.export.prompts.chat_files import ChatTemplate
from llava_edge.export.prompts.chat_sources import ChatSources
from llava_edge.export.prompts.derive_prompt import Derived, derive_prompt
from llava_edge.export.prompts.nearest_prompt import nearest_prompt, what_it_adds
from llava_edge.export.prompts.probes import UnlikeError
from llava_edge.export.prompts.prove_prompt import COUNT, Mismatch, mismatches
from llava_edge.export.prompts.render_template import TemplateRenderer
from llava_edge.export.prompts.usual_prompt import Kind, usual_prompt


@dataclass(frozen=True)
class ChosenPrompt:
    """A prompt format, where it is from, and what a user should know of it, a sentence each."""

    prompt: PromptConfig
    source: str
    notes: tuple[str, ...] = ()


def choose_prompt(
    asked: str | PromptConfig | None,
    config: Section,
    sources: ChatSources,
    tokenizer: Tokenizer,
    kind: Kind,
) -> ChosenPrompt:
    """The format that the caller asks for, else config.json's, the template's, or the usual one.

    Its notes say which it is and why. Raises UsageError or CheckpointError for a format that is
    unknown or needs tokens that the tokenizer lacks, and for a chat template that is broken or of
    a form that no PromptConfig has.
    """
    if isinstance(asked, PromptConfig):
        return ChosenPrompt(_with_tokens(asked, tokenizer), asked.name)
    if asked is not None:
        if asked not in PROMPTS:
            known = " or ".join(PROMPTS)
            raise UsageError(f'There is no prompt format "{asked}"; choose {known}.')
        said = f"Prompts are written as {asked}, which --prompt asks for."
        return ChosenPrompt(_with_tokens(PROMPTS[asked], tokenizer), f"--prompt {asked}", (said,))
    if config.has("llava_edge"):  # our own training wrote it
        trained = read_saved_prompt(config.section("llava_edge"))
        said = f"Prompts are written as {trained.name}, as config.json says."
        return ChosenPrompt(_with_tokens(trained, tokenizer), "config.json", (said,))
    template = sources.template(processor=not kind.original)
    own = None if template is None else _own(template, sources, tokenizer, kind)
    if own is not None:
        return own
    usual, reason = usual_prompt(tokenizer, kind)
    lack = "has no chat template" if template is None else "has a chat template without turns"
    said = (
        f"The checkpoint {lack}; prompts are written as {usual.name}, a guess, since {reason}. "
        "If it was trained with another format, choose that with --prompt."
    )
    return ChosenPrompt(_with_tokens(usual, tokenizer), "guessed", (said,))


def _with_tokens(prompt: PromptConfig, tokenizer: Tokenizer) -> PromptConfig:
    for token in (prompt.bos, *prompt.stop):
        if token and tokenizer.token_to_id(token) is None:
            raise CheckpointError(
                f'The prompt format "{prompt.name}" needs the token {token}, which the tokenizer '
                "lacks; choose another with --prompt."
            )
    return prompt


def _own(
    template: ChatTemplate, sources: ChatSources, tokenizer: Tokenizer, kind: Kind
) -> ChosenPrompt | None:
    """The format of the checkpoint's chat template.

    None where nothing stands between a question and its answer.
    """
    tokens, images = sources.special_tokens(tokenizer), sources.image_tokens(tokenizer)
    renderer = TemplateRenderer(template, tokens.named)
    added = tokens.added if template.of_processor or kind.original else ""
    special = [
        token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special
    ]
    try:
        derived = derive_prompt(renderer, special, images, added)
    except UnlikeError as error:
        _refuse(template, f"it {error}")
    if not derived.prompt.user_suffix:
        return None
    image = derived.prompt.image_token or images[0]
    if not kind.original and tokenizer.token_to_id(image) is not None:
        derived = replace(derived, prompt=replace(derived.prompt, image_token=image))
    found = mismatches(derived, renderer, tokenizer, image)
    if found and not found[0].traits and not found[0].ids_alone:
        _refuse(template, f"it writes {found[0].theirs} where a bundle writes {found[0].ours}")
    notes = tuple(_notes(template, derived, found, tokenizer, kind))
    return ChosenPrompt(derived.prompt, template.path.name, notes)


def _refuse(template: ChatTemplate, reason: str) -> NoReturn:
    raise CheckpointError(
        f"The chat template in {template.path} has no form that a bundle can hold ({reason}); "
        "choose the nearest format with --prompt."
    )


def _notes(
    template: ChatTemplate,
    derived: Derived,
    found: list[Mismatch],
    tokenizer: Tokenizer,
    kind: Kind,
) -> Iterator[str]:
    """What was taken, and in what a user may be surprised."""
    name, prompt = template.path.name, derived.prompt
    written = [each for each in found if not each.ids_alone]
    compared = f"{COUNT - len(written)} of {COUNT}" if written else str(COUNT)
    system = "" if prompt.system_prefix is not None else "; there is no place for system words"
    yield f"Prompts are written as {name} says: {compared} conversations are the same{system}."
    nearest = nearest_prompt(prompt, tokenizer)
    if written:
        first = written[0]
        way_out = f" The nearest format with a name is {nearest.name}." if nearest else ""
        yield (
            f"Not all of {name} can be kept: with {' and '.join(first.traits)} it writes "
            f"{first.theirs}, but the bundle {first.ours}.{way_out}"
        )
    elif found:
        yield (
            f"In {len(found)} of these conversations some ids are others than those of the text as "
            f"a whole ({found[0].ours} instead of {found[0].theirs}), since an answer is encoded "
            "apart from what stands before it."
        )
    if prompt.pictures == "as_written":
        yield f"{name} names no picture; one stands before the words, with a line's end between."
    if derived.dated:
        yield f"{name} writes the date of the day; the bundle keeps that of today."
    if nearest and (more := what_it_adds(nearest, prompt)):
        yield f"Unlike {name}, {nearest.name} writes {more}; --prompt {nearest.name} chooses it."
    usual, _ = usual_prompt(tokenizer, kind)
    if kind.original and (nearest is None or nearest.name != usual.name):
        yield f"LLaVA's own code writes {usual.name} for such a model; --prompt chooses it."
