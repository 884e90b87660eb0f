"""/v1/chat/completions by OpenAI's own client, unchanged."""

import json
import re
from typing import Any

import openai
import pytest
from openai import OpenAI
from PIL import Image
from serving import Served

from llava_edge import Llava, Message, Options, Picture

QUESTION = [{"role": "user", "content": "What is in the picture?"}]


def ask(client: OpenAI, messages: Any = QUESTION, **fields: Any) -> Any:
    fields.setdefault("max_tokens", 12)
    return client.chat.completions.create(model="any", messages=messages, **fields)


def chunks(client: OpenAI, messages: Any = QUESTION, **fields: Any) -> list[Any]:
    with ask(client, messages, stream=True, **fields) as stream:
        return list(stream)


def words(found: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in found if c.choices)


def seen(url: str, text: str = "What is this?") -> list[Any]:
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def refused(client: OpenAI, messages: Any = QUESTION, **fields: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, messages, **fields)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None and caught.value.request_id.startswith("req_")
    assert str(caught.value.body["message"]).endswith(".")  # type: ignore[index]
    return caught.value


def test_an_answer_is_the_models(client: OpenAI, roomy_model: Llava, server: Served) -> None:
    reply = ask(client)
    assert reply.choices[0].message.content == roomy_model.answer(
        "What is in the picture?", options=Options(max_tokens=12)
    )
    assert reply.choices[0].message.role == "assistant"
    assert (reply.object, reply.model) == ("chat.completion", server.host.id)
    assert re.fullmatch(r"chatcmpl-\S{20,}", reply.id)
    assert re.fullmatch(r"fp_[0-9a-f]{12}", reply.system_fingerprint)
    assert reply._request_id.startswith("req_")


def test_a_stream_is_the_same_answer(client: OpenAI) -> None:
    whole = ask(client)
    first, *middle, last = chunks(client)
    assert first.choices[0].delta.model_dump(exclude_unset=True) == {
        "role": "assistant",
        "content": "",
    }
    assert words([first, *middle, last]) == whole.choices[0].message.content
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert all(chunk.choices[0].finish_reason is None for chunk in [first, *middle])
    assert len({(c.id, c.created, c.model, c.object) for c in [first, *middle, last]}) == 1
    assert last.timings["predicted_n"] == 12
    assert all(chunk.usage is None for chunk in [first, *middle, last])


def test_usage_comes_after_the_last_chunk_where_it_is_asked_for(client: OpenAI) -> None:
    *others, finish, last = chunks(client, stream_options={"include_usage": True})
    assert finish.choices[0].finish_reason == "length"
    assert last.choices == []
    assert all("usage" in c.model_fields_set and c.usage is None for c in [*others, finish])
    assert last.usage.completion_tokens == 12
    assert last.usage.total_tokens == last.usage.prompt_tokens + 12


def test_a_picture_is_seen_however_its_url_is_given(
    client: OpenAI, roomy_model: Llava, photo: Image.Image, photo_url: str
) -> None:
    expected = roomy_model.answer(
        Message("user", ["What is this?", Picture(photo)]), Options(max_tokens=12)
    )
    parts: Any = [{"type": "text", "text": "What is this?", "other": 1}]
    bare = [{"role": "user", "content": [*parts, {"type": "image_url", "image_url": photo_url}]}]
    detail = [{"type": "image_url", "image_url": {"url": photo_url, "detail": "low"}}]
    for messages in (seen(photo_url), bare, [{"role": "user", "content": [*parts, *detail]}]):
        reply = ask(client, messages)
        assert reply.choices[0].message.content == expected
        assert reply.usage.prompt_tokens_details.image_tokens == 36
    assert expected != roomy_model.answer("What is this?", options=Options(max_tokens=12))


def test_pictures_in_any_turn_and_what_is_cached_of_them(
    server: Served, photo: Image.Image, photo_url: str
) -> None:
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
    messages = seen(photo_url, "One?")
    first = ask(client, messages)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        *seen(photo_url, "Two?"),
    ]
    second = ask(client, messages)
    details = second.usage.prompt_tokens_details
    assert details.image_tokens == 72
    # All of the first turn, but for the suffix that an answer cut short has not said.
    assert details.cached_tokens >= first.usage.total_tokens - 2
    assert second.timings["cache_n"] == details.cached_tokens
    assert second.timings["prompt_n"] == second.usage.prompt_tokens - details.cached_tokens
    client.close()


def test_system_and_developer_turns_are_the_system_message(
    client: OpenAI, roomy_model: Llava
) -> None:
    expected = roomy_model.answer(
        "Who?", options=Options(max_tokens=12), system="Be brief.\n\nBe kind."
    )
    for one, other in (("system", "system"), ("developer", "developer"), ("developer", "system")):
        messages = [
            {"role": one, "content": "Be brief."},
            {"role": other, "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Who?"},
        ]
        assert ask(client, messages).choices[0].message.content == expected
    late = [*QUESTION, {"role": "system", "content": "Be brief."}, *QUESTION]
    assert "put it first" in str(refused(client, late))


def test_turns_in_a_row_are_one(client: OpenAI, roomy_model: Llava) -> None:
    history = [
        {"role": "user", "content": "One"},
        {"role": "user", "content": [{"type": "text", "text": "two"}], "name": "Ann"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": w} for w in ("three", "four")]},
    ]
    expected = [
        Message("user", "One\ntwo"),
        Message("assistant", ""),
        Message("user", "three\nfour"),
    ]
    found = ask(client, history).choices[0].message.content
    assert found == roomy_model.answer(expected, Options(max_tokens=12))


DRAWING: dict[str, Any] = {
    "temperature": 2.5,
    "seed": 7,
    "top_p": 0.6,
    "top_k": 3,
    "min_p": 0.5,
    "repetition_penalty": 2.0,
    "frequency_penalty": 2.0,
    "presence_penalty": -2.0,
    "logit_bias": {40: 6.0},
}


@pytest.mark.parametrize("name", DRAWING)
def test_every_option_reaches_the_model(client: OpenAI, roomy_model: Llava, name: str) -> None:
    given = {"temperature": 1.5, "seed": 5, name: DRAWING[name]}
    options = Options(max_tokens=40, **given)
    expected = roomy_model.answer("What is in the picture?", options=options)
    reply = ask(client, max_tokens=40, extra_body=given)
    assert reply.choices[0].message.content == expected
    if name == "repetition_penalty":  # llama-server's name
        again = ask(
            client, max_tokens=40, temperature=1.5, seed=5, extra_body={"repeat_penalty": 2}
        )
        assert again.choices[0].message.content == expected
    base = Options(max_tokens=40, temperature=1.5, seed=5)
    assert roomy_model.answer("What is in the picture?", options=base) != expected


def test_lengths_are_clamped(client: OpenAI, roomy_model: Llava) -> None:
    room = roomy_model.decoder.context
    for fields in ({"max_tokens": 32_768}, {"max_completion_tokens": 32_768, "max_tokens": 3}):
        reply = ask(client, **fields, stop=["\x00never"])
        assert reply.choices[0].finish_reason in ("length", "stop")
        assert reply.usage.total_tokens <= room + 1
    assert ask(client, max_completion_tokens=3).usage.completion_tokens == 3
    assert "max_tokens" in str(refused(client, max_tokens=0))


def test_stop_strings_end_an_answer_and_are_no_part_of_it(client: OpenAI) -> None:
    whole = ask(client, max_tokens=30).choices[0].message.content
    stop = whole[7:9]
    for given in (stop, [stop], ["\x00never", stop]):
        reply = ask(client, max_tokens=30, stop=given)
        assert reply.choices[0].message.content == whole[: whole.index(stop)]
        assert reply.choices[0].finish_reason == "stop"
        assert words(chunks(client, max_tokens=30, stop=given)) == whole[: whole.index(stop)]
    assert ask(client, max_tokens=30, stop=[]).choices[0].message.content == whole


def test_logprobs_have_the_form_and_bytes_of_openai(client: OpenAI) -> None:
    reply = ask(client, logprobs=True, top_logprobs=3)
    found = reply.choices[0].logprobs.content
    assert len(found) == reply.usage.completion_tokens == 12
    said = b"".join(bytes(token.bytes) for token in found)
    assert said.decode(errors="replace").startswith(reply.choices[0].message.content)
    for token in found:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert token.token == token.top_logprobs[0].token
    streamed = [
        token.bytes
        for chunk in chunks(client, logprobs=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert streamed == [token.bytes for token in found]
    assert ask(client).choices[0].logprobs is None
    assert "logprobs" in str(refused(client, top_logprobs=2))
    assert refused(client, logprobs=True, top_logprobs=21).param == "logprobs"


FORMS: dict[str, dict[str, Any]] = {
    "json_schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "count",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"count": {"enum": [1, 2]}},
                    "required": ["count"],
                    "additionalProperties": False,
                },
            },
        }
    },
    "json_object": {"response_format": {"type": "json_object"}},
    "json_object with a schema": {
        "response_format": {"type": "json_object", "schema": {"enum": [{"a": 1}]}}
    },
    "structured_outputs json": {
        "extra_body": {"structured_outputs": {"json": {"enum": [{"a": 1}]}}}
    },
    "json_schema of llama-server": {"extra_body": {"json_schema": {"enum": [{"a": 1}]}}},
    "guided_json": {"extra_body": {"guided_json": '{"enum": [{"a": 1}]}'}},
}


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_keeps_to_a_schema(client: OpenAI, form: str) -> None:
    reply = ask(client, **FORMS[form], max_tokens=200, temperature=0.5, seed=3)
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(reply.choices[0].message.content), dict)
    else:
        assert reply.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"structured_outputs": {"regex": "[ab]{5}"}}, "[ab]{5}"),
        ({"structured_outputs": {"choice": ["cat", "dog"]}}, "cat|dog"),
        ({"guided_regex": "[ab]{5}"}, "[ab]{5}"),
        ({"guided_choice": ["cat", "dog"]}, "cat|dog"),
        ({"response_format": {"type": "text"}, "guided_choice": ["cat"]}, "cat"),
    ],
)
def test_an_answer_keeps_to_a_regex_or_choices(
    client: OpenAI, body: dict[str, Any], expected: str
) -> None:
    answer = ask(client, extra_body=body).choices[0].message.content
    assert re.fullmatch(expected, answer)


WRONG: dict[str, tuple[dict[str, Any], str | None]] = {
    "temperature": ({"temperature": -1}, "temperature"),
    "a string as temperature": ({"extra_body": {"temperature": "hot"}}, "temperature"),
    "top_p": ({"top_p": 1.5}, "top_p"),
    "seed": ({"seed": -5}, "seed"),
    "penalty": ({"presence_penalty": 3}, "presence_penalty"),
    "bias": ({"logit_bias": {"cat": 1}}, "logit_bias"),
    "bias beyond the vocabulary": ({"logit_bias": {"99999": 1}}, None),
    "n": ({"n": 2}, "n"),
    "tool": ({"tool_choice": "required", "tools": []}, "tool_choice"),
    "audio": ({"modalities": ["text", "audio"]}, "modalities"),
    "format": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "no schema": ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    "two forms": ({"extra_body": {"guided_regex": "a", "guided_choice": ["b"]}}, None),
    "grammar": ({"extra_body": {"grammar": "root ::= 'a'"}}, "grammar"),
    "schema that does not compile": (
        {"extra_body": {"guided_json": {"type": "nonsense"}}},
        None,
    ),
    "regex that does not compile": ({"extra_body": {"guided_regex": "(a"}}, None),
    "large schema": ({"extra_body": {"guided_json": {"enum": ["a" * 70_000]}}}, "schema"),
    "many stop strings": ({"stop": ["a"] * 17}, "stop"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said_before_the_answer(client: OpenAI, name: str, stream: bool) -> None:
    fields, param = WRONG[name]
    error = refused(client, stream=stream, **fields)
    assert error.param == param
    assert ask(client).choices[0].finish_reason == "length"  # the next one is answered


MESSAGES: dict[str, tuple[Any, str | None]] = {
    "none": ([], "messages"),
    "no user": ([{"role": "system", "content": "x"}], "messages"),
    "the assistant last": ([*QUESTION, {"role": "assistant", "content": "x"}], "messages"),
    "the assistant first": ([{"role": "assistant", "content": "x"}, *QUESTION], "messages"),
    "a role": ([{"role": "judge", "content": "x"}], "messages[0].role"),
    "a tool's": ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages[0].role"),
    "a number": ([{"role": "user", "content": 5}], "messages[0].content"),
    "an object": ([{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
    "a string": ("What?", "messages"),
    "numbers": ([5], "messages[0]"),
    "nothing in it": ([{}], "messages[0]"),
    "a number as role": ([{"role": 5, "content": "x"}], "messages[0].role"),
    "audio": (
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
        "messages[0].content[0].type",
    ),
    "a part without its words": (
        [{"role": "user", "content": [{"type": "text"}]}],
        "messages[0].content[0]",
    ),
    "no picture": (
        seen("data:image/png;base64,aGVsbG8="),
        "messages[0].content[1].image_url",
    ),
    "a picture of the system": (
        [{**seen("data:image/png;base64,aGVsbG8=")[0], "role": "system"}, *QUESTION],
        "messages[0]",
    ),
    "too long": ([{"role": "user", "content": "cat " * 9000}], "messages"),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("stream", [False, True])
def test_messages_that_cannot_be_answered(client: OpenAI, name: str, stream: bool) -> None:
    messages, param = MESSAGES[name]
    error = refused(client, messages, stream=stream)
    assert error.param == param
    assert (error.code == "context_length_exceeded") is (name == "too long")


def test_fields_that_mean_nothing_here_are_passed_over(client: OpenAI) -> None:
    expected = ask(client).choices[0].message.content
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    reply = ask(
        client,
        n=1,
        user="me",
        metadata={"a": "b"},
        store=True,
        tools=[tool],
        tool_choice="auto",
        parallel_tool_calls=False,
        service_tier="auto",
        reasoning_effort="low",
        modalities=["text"],
        top_p=1,
        extra_body={"chat_template_kwargs": {}, "unheard": [1], "top_k": -1, "stop": None},
    )
    assert reply.choices[0].message.content == expected


def test_progress_is_told_on_request(client: OpenAI) -> None:
    long = [{"role": "user", "content": "cat dog " * 200}]
    found = [
        chunk.prompt_progress
        for chunk in chunks(client, long, extra_body={"return_progress": True})
        if hasattr(chunk, "prompt_progress")
    ]
    assert [p["processed"] for p in found] == sorted({p["processed"] for p in found})
    assert found[0]["processed"] == 0 and found[-1]["processed"] == found[-1]["total"]
    assert len(found) > 3
    assert not any(hasattr(chunk, "prompt_progress") for chunk in chunks(client, long))
