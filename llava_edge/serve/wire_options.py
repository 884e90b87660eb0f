"""What a request says of its answer, as the runtime's Options."""

from collections.abc import Iterator
from typing import Any

from llava_edge.errors import UsageError
from llava_edge.runtime.options import Options
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.request_limits import check_options
from llava_edge.serve.wire_errors import WireError

_ANY_OBJECT = {"type": "object"}
_TINY = 1e-6  # OpenAI's top_p may be 0, which leaves the likeliest token
_FREE_TOOL_CHOICES = (None, "none", "auto")  # an answer in words is one of what they allow


def options_of(asked: CompletionRequest, most_tokens: int) -> Options:
    """How the answer is drawn and ended, after at most `most_tokens` whatever is asked for.

    Raises WireError for what is out of its range, contradicts itself, or cannot be done.
    """
    _refuse_other_work(asked)
    values = {**_ending(asked, most_tokens), **_drawing(asked), **dict(_forms(asked))}
    values = {name: value for name, value in values.items() if value is not None}
    try:
        options = Options(**values)
    except UsageError as error:
        raise WireError(400, str(error), param=_culprit(values)) from None
    check_options(options)
    return options


def _refuse_other_work(asked: CompletionRequest) -> None:
    """Refuse what would be missed in an answer that is words alone."""
    if asked.n not in (None, 1):
        raise _unsupported(f"n is {asked.n}, and one answer is given; ask again for another.", "n")
    if "audio" in (asked.modalities or ()):
        raise _unsupported("The model does not speak; leave audio out of modalities.", "modalities")
    for name in ("tool_choice", "function_call"):
        if getattr(asked, name) not in _FREE_TOOL_CHOICES:
            raise _unsupported(f"The model calls no tools; leave {name} out.", name)
    outputs = asked.structured_outputs
    if asked.grammar is not None or (outputs and (outputs.grammar or outputs.structural_tag)):
        raise _unsupported("Grammars are not read; give a JSON schema or a regex.", "grammar")


def _ending(asked: CompletionRequest, most_tokens: int) -> dict[str, Any]:
    given = asked.max_completion_tokens
    given = asked.max_tokens if given is None else given
    unlimited = given is None or given == -1  # llama-server's
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return {
        "max_tokens": most_tokens if unlimited else min(given or 0, most_tokens),
        "stop": tuple(filter(None, stop)),
    }


def _drawing(asked: CompletionRequest) -> dict[str, Any]:
    repetition = asked.repetition_penalty
    return {
        "temperature": asked.temperature,
        "top_k": 0 if asked.top_k == -1 else asked.top_k,  # vLLM's "all"
        "top_p": _TINY if asked.top_p == 0 else asked.top_p,
        "min_p": asked.min_p,
        "seed": None if asked.seed == -1 else asked.seed,  # llama-server's "any"
        "repetition_penalty": asked.repeat_penalty if repetition is None else repetition,
        "frequency_penalty": asked.frequency_penalty,
        "presence_penalty": asked.presence_penalty,
        "logit_bias": _biases(asked.logit_bias or {}),
        "logprobs": _logprobs(asked),
    }


def _biases(given: dict[str, float]) -> dict[int, float]:
    try:
        return {int(id): bias for id, bias in given.items()}
    except ValueError:
        raise WireError(
            400, "logit_bias has a key that is no token id; give numbers.", param="logit_bias"
        ) from None


def _logprobs(asked: CompletionRequest) -> int | None:
    if asked.logprobs:
        return asked.top_logprobs or 0
    if asked.top_logprobs:
        raise WireError(
            400, "top_logprobs is given without logprobs; set logprobs too.", param="logprobs"
        )
    return None


def _forms(asked: CompletionRequest) -> Iterator[tuple[str, Any]]:
    """The form of the answer, as an option; more than one kind is refused by Options."""
    outputs = asked.structured_outputs
    schemas = [_response_schema(asked), asked.json_schema, asked.guided_json]
    if outputs is not None:
        schemas += [outputs.json, _ANY_OBJECT if outputs.json_object else None]
    for schema in schemas:
        if schema is not None:
            yield "schema", schema
    yield "regex", asked.guided_regex or (outputs.regex if outputs else None)
    yield "choices", tuple(asked.guided_choice or (outputs and outputs.choice) or ())


def _response_schema(asked: CompletionRequest) -> dict[str, Any] | None:
    form = asked.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return form.schema or _ANY_OBJECT
    if form.type != "json_schema":
        raise _unsupported(
            "The type of response_format is not known; give text, json_object or json_schema.",
            "response_format.type",
        )
    if form.json_schema is None or form.json_schema.schema is None:
        raise WireError(
            400,
            "response_format lacks its schema; give json_schema.schema.",
            param="response_format.json_schema",
        )
    return form.json_schema.schema


def _culprit(values: dict[str, Any]) -> str | None:
    """The option that is wrong by itself, if one is."""
    for name, value in values.items():
        try:
            Options(**{name: value})
        except UsageError:
            return name
    return None


def _unsupported(message: str, param: str) -> WireError:
    return WireError(400, message, code="unsupported_value", param=param)
