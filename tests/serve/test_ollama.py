"""Ollama's paths by Ollama's own client, unchanged."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.request import Request, urlopen

import ollama
import pytest
from PIL import Image
from running_server import ask, connection
from serving import Served, held, serving_model

from llava_edge import DeviceError, Llava, Message, Options, Picture
from llava_edge.serve.guards.guard_settings import GuardSettings

WORDS = "What is in the picture?"
TURNS = [{"role": "user", "content": WORDS}]
SCHEMA = {
    "type": "object",
    "properties": {"count": {"enum": [1, 2]}},
    "required": ["count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(roomy_model: Llava) -> Iterator[Served]:
    with serving_model(roomy_model.apart(), ollama=True) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def picture(photo: Image.Image) -> bytes:
    file = BytesIO()
    photo.save(file, "PNG")
    return file.getvalue()


def chat(client: ollama.Client, turns: Any = TURNS, **fields: Any) -> Any:
    options = {"num_predict": 12, "num_ctx": 2048, **fields.pop("options", {})}
    return client.chat("any", turns, options=options, **fields)


def test_an_answer_is_the_models(client: ollama.Client, roomy_model: Llava, server: Served) -> None:
    reply = chat(client)
    assert reply.message.content == roomy_model.answer(WORDS, options=Options(max_tokens=12))
    assert (reply.message.role, reply.model) == ("assistant", server.host.id)
    assert (reply.done, reply.done_reason, reply.eval_count) == (True, "length", 12)
    assert reply.prompt_eval_count > 0
    computed = reply.prompt_eval_duration + reply.eval_duration
    assert 0 < computed and reply.load_duration == max(0, reply.total_duration - computed)
    assert reply.created_at.endswith("Z")


def test_a_stream_is_the_same_answer(client: ollama.Client) -> None:
    whole = chat(client)
    *parts, last = chat(client, stream=True)
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert not any(part.done for part in parts) and all(part.done_reason is None for part in parts)
    assert (last.done, last.message.content, last.eval_count) == (True, "", 12)
    assert last.eval_duration > 0


def test_answers_are_streamed_unless_they_must_not_be(server: Served) -> None:
    body = json.dumps({"model": "any", "messages": TURNS, "options": {"num_predict": 3}}).encode()
    kind = [("Content-Type", "application/json")]
    reply = ask(server.port, "/api/chat", kind, method="POST", body=body)
    assert reply.headers["content-type"] == "application/x-ndjson"
    *lines, last = map(json.loads, reply.body.splitlines())
    assert last["done"] and lines and not any(line["done"] for line in lines)
    form = [("Content-Type", "application/x-www-form-urlencoded")]  # what curl -d says
    refused = ask(server.port, "/api/chat", form, method="POST", body=body)
    assert refused.status == 415 and set(refused.json) == {"error"}
    assert "application/json" in refused.json["error"]


def test_a_conversation_with_pictures(
    client: ollama.Client, roomy_model: Llava, photo: Image.Image, picture: bytes
) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": [picture]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And this?", "images": [picture, picture]},
    ]
    expected = [
        Message("system", "Be brief."),
        Message("user", [Picture(photo), "What is this?"]),
        Message("assistant", "A cat."),
        Message("user", [Picture(photo), Picture(photo), "And this?"]),
    ]
    answer = roomy_model.answer(expected, Options(max_tokens=12))
    assert chat(client, turns).message.content == answer


def test_one_question(
    client: ollama.Client, roomy_model: Llava, photo: Image.Image, picture: bytes
) -> None:
    question = Message("user", [Picture(photo), WORDS])
    expected = roomy_model.answer(question, Options(max_tokens=12), system="Be brief.")
    fields: Any = {"system": "Be brief.", "images": [picture], "options": {"num_predict": 12}}
    assert client.generate("any", WORDS, **fields).response == expected
    *parts, last = client.generate("any", WORDS, stream=True, **fields)
    assert "".join(part.response or "" for part in parts) == expected
    assert (last.done, last.done_reason) == (True, "length")


def test_a_model_is_asked_for_without_a_question(client: ollama.Client) -> None:
    reply = client.generate("any")
    assert (reply.response, reply.done, reply.done_reason) == ("", True, "load")
    assert chat(client, []).done_reason == "load"


DRAWING: dict[str, Any] = {
    "temperature": 2.5,
    "seed": 7,
    "top_p": 0.6,
    "top_k": 3,
    "min_p": 0.5,
    "repeat_penalty": 2.0,
    "frequency_penalty": 2.0,
    "presence_penalty": -2.0,
}


@pytest.mark.parametrize("name", DRAWING)
def test_every_option_reaches_the_model(
    client: ollama.Client, roomy_model: Llava, name: str
) -> None:
    given = {"temperature": 1.5, "seed": 5, name: DRAWING[name]}
    reply = chat(client, options={"num_predict": 40, **given})
    given["repetition_penalty"] = given.pop("repeat_penalty", 1.0)
    options = Options(max_tokens=40, **given)
    assert reply.message.content == roomy_model.answer(WORDS, options=options)


def test_where_an_answer_ends(client: ollama.Client) -> None:
    whole = chat(client, options={"num_predict": 30}).message.content
    stop = whole[7:9]
    for given in (stop, [stop, "\x00never"]):
        reply = chat(client, options={"num_predict": 30, "stop": given})
        assert reply.message.content == whole[: whole.index(stop)]
        assert reply.done_reason == "stop"
    assert chat(client, options={"num_predict": -1, "stop": stop}).done_reason == "stop"


def test_an_answer_keeps_to_a_schema(client: ollama.Client) -> None:
    reply = chat(client, format=SCHEMA, options={"num_predict": 100})
    assert json.loads(reply.message.content)["count"] in (1, 2)
    assert chat(client, format="json").message.content.startswith("{")
    assert chat(client, format="").message.content == chat(client).message.content


def test_logprobs(client: ollama.Client) -> None:
    reply = chat(client, logprobs=True, top_logprobs=2)
    assert len(reply.logprobs) == 12
    assert len(reply.logprobs[0].top_logprobs) == 2
    streamed = [
        one for part in chat(client, logprobs=True, stream=True) for one in part.logprobs or ()
    ]
    assert [one.token for one in streamed] == [one.token for one in reply.logprobs]


def test_what_there_is(client: ollama.Client, server: Served, roomy_model: Llava) -> None:
    (listed,) = client.list().models
    assert listed.model == server.host.id
    assert listed.size == sum(file.size for file in roomy_model.config.files.values())
    assert listed.details and listed.details.family == "llava"
    (running,) = client.ps().models
    assert (running.name, running.context_length) == (server.host.id, 4096)
    for name in (server.host.id, f"{server.host.id}:latest"):
        shown = client.show(name)
        assert shown.capabilities == ["completion", "vision"]
        assert shown.modelinfo and shown.modelinfo["llava.context_length"] == 4096
        assert shown.modified_at == listed.modified_at
    assert json.loads(server.get("/api/version"))["version"]
    first = server.get("/")  # or the page, where it is there
    assert first == "Ollama is running" or first.lower().startswith("<!doctype html")
    with urlopen(Request(server.url, method="HEAD")) as head:
        assert (head.status, head.read()) == (200, b"")


def broken(photo: bytes) -> list[Any]:
    return [{"role": "user", "content": "x", "images": [photo]}]


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "temperature": (TURNS, {"options": {"temperature": -1}}, "temperature"),
    "a format": (TURNS, {"format": "xml"}, "format"),
    "no picture": (broken(b"hello"), {}, "picture"),
    "the assistant last": ([{"role": "assistant", "content": "x"}], {}, "last message"),
    "a tool's": ([{"role": "tool", "content": "x"}], {}, "role"),
    "too long": ([{"role": "user", "content": "cat " * 9000}], {}, "tokens"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_said(client: ollama.Client, name: str, stream: bool) -> None:
    turns, fields, said = WRONG[name]
    body = {"model": "any", "messages": turns, "stream": stream, **fields}
    with pytest.raises(ollama.ResponseError, match=said) as refused:
        # Its own types would refuse some of these.
        list(client._request(dict, "POST", "/api/chat", json=_plain(body), stream=stream))
    assert refused.value.status_code == 400
    assert refused.value.error.endswith(".")


def _plain(body: Any) -> Any:
    return json.loads(json.dumps(body, default=lambda data: data.decode()))


@pytest.mark.parametrize(
    "field", [{"suffix": "x"}, {"template": "x"}, {"context": [1]}, {"raw": True}]
)
def test_what_one_question_cannot_have(client: ollama.Client, field: dict[str, Any]) -> None:
    with pytest.raises(ollama.ResponseError, match=next(iter(field))) as refused:
        client.generate("any", WORDS, **field)
    assert refused.value.status_code == 400


def test_another_models_name_and_another_path(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="is not here") as missing:
        client.show("other")
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="no such path"):
        client.embed("any", "words")


def test_a_fault_within_an_answer(roomy_model: Llava) -> None:
    fault = DeviceError("The GPU failed; choose another.")
    with serving_model(held(roomy_model, 3, fault), ollama=True) as server:
        with ollama.Client(server.url) as client:
            parts = chat(client, stream=True)
            assert next(parts).message.content
            with pytest.raises(ollama.ResponseError, match="GPU failed"):
                list(parts)
            with pytest.raises(ollama.ResponseError, match="GPU failed") as failed:
                chat(client)
            assert failed.value.status_code == 500


def test_the_connection_is_kept_alive_while_a_prompt_is_read(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with serving_model(model, ollama=True, ping_seconds=0.02) as server:
        with ollama.Client(server.url) as client:
            body = json.dumps({"messages": TURNS, "options": {"num_predict": 5}}).encode()
            head = (
                f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            with connection(server.port) as waiting:
                waiting.sendall(head.encode() + body)
                received = b""
                while received.count(b"1\r\n \r\n") < 2:
                    received += waiting.recv(4096)
            server.until("answers_running", 0)  # whose client has gone
            model.release.set()
            assert chat(client, stream=True, options={"num_predict": 5})


def test_the_guards_stand_before_these_paths_too(roomy_model: Llava) -> None:
    guards = GuardSettings(keys=("first-key-0123456789",))
    with serving_model(roomy_model.apart(), ollama=True, guards=guards) as server:
        with ollama.Client(server.url) as stranger, pytest.raises(ollama.ResponseError) as refused:
            stranger.list()
        assert (refused.value.status_code, "API key" in refused.value.error) == (401, True)
        headers = {"Authorization": "Bearer first-key-0123456789"}
        with ollama.Client(server.url, headers=headers) as client:
            assert chat(client).done
    with serving_model(roomy_model.apart()) as plain:
        for path in ("/api/tags", "/api/version"):
            assert ask(plain.port, path).status == 404
        rebound = ask(plain.port, "/api/tags", host="evil.example")
        assert (rebound.status, set(rebound.json)) == (403, {"error"})
