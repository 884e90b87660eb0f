"""/v1/responses by OpenAI's own client, unchanged."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from PIL import Image
from pydantic import BaseModel
from serving import Served, held, serving_model

from llava_edge import DeviceError, Llava, Message, Options, Picture
from llava_edge.serve.guards.guard_settings import GuardSettings

WORDS = "What is in the picture?"
SCHEMA = {
    "type": "object",
    "properties": {"count": {"enum": [1, 2]}},
    "required": ["count"],
    "additionalProperties": False,
}


def ask(client: OpenAI, words: Any = WORDS, **fields: Any) -> Any:
    fields.setdefault("max_output_tokens", 12)
    return client.responses.create(model="any", input=words, **fields)


def seen(url: str, words: str = "What is this?") -> list[Any]:
    parts = [
        {"type": "input_text", "text": words},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    return [{"role": "user", "content": parts}]


def test_an_answer_is_the_models(client: OpenAI, roomy_model: Llava, server: Served) -> None:
    reply = ask(client, metadata={"a": "b"})
    assert reply.output_text == roomy_model.answer(WORDS, options=Options(max_tokens=12))
    assert (reply.object, reply.model) == ("response", server.host.id)
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert reply.id.startswith("resp_") and reply.output[0].id.startswith("msg_")
    assert (reply.error, reply.metadata) == (None, {"a": "b"})
    usage = reply.usage
    assert usage.output_tokens == 12
    assert usage.total_tokens == usage.input_tokens + 12
    again = ask(client).usage.input_tokens_details
    assert 0 < again.cached_tokens < usage.input_tokens
    assert type(reply).model_validate(reply.to_dict(), strict=True)  # every field that must be


def test_an_answer_that_ends_by_itself_is_completed(client: OpenAI) -> None:
    form = {"type": "json_schema", "name": "count", "schema": SCHEMA, "strict": True}
    reply = ask(client, text={"format": form}, max_output_tokens=200)
    assert (reply.status, reply.incomplete_details) == ("completed", None)
    assert json.loads(reply.output_text)["count"] in (1, 2)
    assert reply.text.format.to_dict() == form
    ranged = ask(client, text={"format": {"type": "json_object"}}, temperature=0.5, top_p=0.9)
    assert ranged.output_text.startswith("{")
    assert ask(client, text={"format": {"type": "text"}}).output_text == ask(client).output_text


def test_a_conversation_with_pictures_and_instructions(
    client: OpenAI, roomy_model: Llava, photo: Image.Image, photo_url: str
) -> None:
    options = Options(max_tokens=12)
    question = Message("user", ["What is this?", Picture(photo)])
    first = ask(client, seen(photo_url))
    assert first.output_text == roomy_model.answer(question, options)
    assert first.usage.input_tokens_details.to_dict()["image_tokens"] == 36
    history = [*seen(photo_url), first.output[0].to_dict(), {"role": "user", "content": "More?"}]
    turns = [
        Message("system", "Be brief."),
        question,
        Message("assistant", first.output_text),
        Message("user", "More?"),
    ]
    second = ask(client, history, instructions="Be brief.")
    assert second.output_text == roomy_model.answer(turns, options)
    assert second.instructions == "Be brief."


EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.incomplete",
]


def test_a_stream_is_the_same_answer_in_events(client: OpenAI) -> None:
    whole = ask(client)
    with ask(client, stream=True) as stream:
        events = list(stream)
    assert list(dict.fromkeys(event.type for event in events)) == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for event in events:
        assert type(event).model_validate(event.to_dict())
    deltas = [event.delta for event in events if event.type == EVENTS[4]]
    *_, text, part, item, last = events
    assert "".join(deltas) == text.text == part.part.text == whole.output_text
    assert item.item.content[0].text == last.response.output_text == whole.output_text
    assert last.response.usage.output_tokens == whole.usage.output_tokens
    assert len({event.response.id for event in (*events[:2], last)}) == 1
    assert events[0].response.output == []


class Count(BaseModel):
    count: int


def test_the_clients_own_helper_for_streams(client: OpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "count", "schema": SCHEMA}}
    with client.responses.stream(model="any", input=WORDS, text=form) as stream:
        types = [event.type for event in stream]
        final = stream.get_final_response()
    assert types[-1] == "response.completed"
    assert json.loads(final.output_text)["count"] in (1, 2)
    with client.responses.stream(
        model="any", input=WORDS, text_format=Count, max_output_tokens=200
    ) as parsing:
        for _ in parsing:
            pass
    parsed = client.responses.parse(
        model="any", input=WORDS, text_format=Count, max_output_tokens=400
    )
    assert parsed.output_text.startswith("{")


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an id of before": (WORDS, {"previous_response_id": "resp_1"}, "previous_response_id"),
    "a conversation": (WORDS, {"conversation": "conv_1"}, "conversation"),
    "later": (WORDS, {"background": True}, "background"),
    "a tool": (WORDS, {"tool_choice": "required"}, "tool_choice"),
    "no tokens": (WORDS, {"max_output_tokens": 0}, "max_output_tokens"),
    "temperature": (WORDS, {"temperature": -1}, "temperature"),
    "nothing": ([], {}, "input"),
    "a format": (WORDS, {"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    "no schema": (WORDS, {"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
    "a large schema": (
        WORDS,
        {"text": {"format": {"type": "json_schema", "schema": {"enum": ["a" * 70_000]}}}},
        "text.format.schema",
    ),
    "the assistant last": ([{"role": "assistant", "content": "x"}], {}, "input"),
    "a role": ([{"role": "judge", "content": "x"}], {}, "input[0].role"),
    "no role": ([{"content": "x"}], {}, "input[0].role"),
    "a call": ([{"type": "function_call", "name": "f"}], {}, "input[0].type"),
    "a file": (
        [{"role": "user", "content": [{"type": "input_file", "file_id": "1"}]}],
        {},
        "input[0].content[0].type",
    ),
    "a picture by its id": (
        [{"role": "user", "content": [{"type": "input_image", "file_id": "1"}]}],
        {},
        "input[0].content[0]",
    ),
    "a picture as in a chat": (
        [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]}],
        {},
        "input[0].content[0].image_url",
    ),
    "no picture": (
        seen("data:image/png;base64,aGVsbG8="),
        {"instructions": "Be brief."},
        "input[0].content[1].image_url",
    ),
    "too long": ("cat " * 9000, {}, "input"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_before_the_answer(client: OpenAI, name: str, stream: bool) -> None:
    words, fields, param = WRONG[name]
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, words, stream=stream, **fields)
    assert refused.value.param == param
    assert (refused.value.code == "context_length_exceeded") is (name == "too long")


def test_a_fault_within_a_stream_is_an_event(roomy_model: Llava) -> None:
    fault = DeviceError("The GPU failed; choose another.")
    with (
        serving_model(held(roomy_model, 2, fault)) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        with pytest.raises(openai.InternalServerError):
            ask(client)
        *_, error, last = ask(client, stream=True)
        assert (error.type, error.message, error.code) == ("error", str(fault), "failed")
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert last.response.error.message == str(fault)
        assert last.sequence_number == error.sequence_number + 1


def test_the_path_needs_the_key(roomy_model: Llava) -> None:
    guards = GuardSettings(keys=("first-key-0123456789",))
    with (
        serving_model(roomy_model.apart(), guards=guards) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="other-key-0123456789") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(client)
