"""The server from outside: what it lists, counts and logs, and how its errors look."""

import json
import logging
from http.client import HTTPConnection
from typing import Any

import openai
import pytest
from openai import OpenAI
from running_server import Reply, ask
from serving import Served, held, serving_model

from llava_edge import DeviceError, Llava
from llava_edge.serve.guards.guard_settings import GuardSettings

QUESTION = [{"role": "user", "content": "What do elephants whisper?"}]
JSON = [("Content-Type", "application/json")]


def post(server: Served, **fields: Any) -> Reply:
    body = json.dumps({"messages": QUESTION, "max_tokens": 5, **fields}).encode()
    return ask(server.port, "/v1/chat/completions", JSON, method="POST", body=body)


def test_the_models_are_listed(client: OpenAI, server: Served, roomy_model: Llava) -> None:
    (model,) = client.models.list().data
    assert model.id == "tiny-llava" == client.models.retrieve("tiny-llava").id
    assert model.architecture["input_modalities"] == ["text", "image"]  # type: ignore[attr-defined]
    size = sum(path.stat().st_size for path in roomy_model.path.iterdir())
    size -= (roomy_model.path / "bundle.json").stat().st_size
    meta = {"n_ctx_train": 4096, "n_ctx": 4096, "size": size, "device": "cpu"}
    assert model.meta == meta  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("org/other")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


def test_no_path_and_no_method_are_errors_of_openais_form(server: Served) -> None:
    for target in ("/v1/embeddings", "/v1/chat/completions/", "/page/../serve.py"):
        reply = ask(server.port, target)
        assert (reply.status, reply.error["type"]) == (404, "not_found_error")
    reply = ask(server.port, "/v1/chat/completions")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.error["type"] == "invalid_request_error"


def test_every_reply_has_an_id(server: Served) -> None:
    replies = [ask(server.port, path) for path in ("/health", "/nothing", "/v1/models")]
    replies.append(ask(server.port, "/health", host="evil.example"))  # refused by a guard
    replies.append(post(server))
    replies.append(post(server, temperature=-1))
    assert [reply.status for reply in replies] == [200, 404, 200, 403, 200, 400]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 6


def test_while_it_loads_it_says_so(roomy_model: Llava) -> None:
    with serving_model(roomy_model, loaded=False) as server:
        for reply in (ask(server.port, "/health"), ask(server.port, "/v1/health"), post(server)):
            assert (reply.status, reply.error["code"]) == (503, "loading")
            assert int(reply.headers["retry-after"]) > 0
        assert ask(server.port, "/v1/models").json["data"][0]["id"] == "tiny-llava"


def test_what_is_ready_is_healthy(server: Served) -> None:
    assert ask(server.port, "/health").json == ask(server.port, "/v1/health").json
    assert ask(server.port, "/health").json == {"status": "ok", "loaded": [server.host.id]}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (DeviceError("The GPU failed; choose another."), "The GPU failed; choose another."),
        (RuntimeError("at 0x7f0000001234"), "The server failed; its log says why."),
    ],
)
def test_an_answer_that_fails_is_not_asked_for_again(
    roomy_model: Llava, fault: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving_model(held(roomy_model, 2, fault)) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2) as client,
    ):
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="any", messages=QUESTION)  # type: ignore[arg-type]
        assert failed.value.body["message"] == message  # type: ignore[index]
        assert failed.value.type == "server_error"
        stream = client.chat.completions.create(model="any", messages=QUESTION, stream=True)  # type: ignore[arg-type]
        assert next(stream).choices[0].delta.role == "assistant"
        with pytest.raises(openai.APIError, match=message):
            list(stream)
        assert server.figure('requests_total{status="500"}') == 1
        assert server.figure('answers_total{finish="error"}') == 2
        server.until("answers_running", 0)
    unexpected = isinstance(fault, RuntimeError)
    assert ("0x7f0000001234" in caplog.text) is unexpected


def test_figures_are_those_of_the_answers(roomy_model: Llava, photo_url: str) -> None:
    with (
        serving_model(roomy_model.apart()) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        parts = [{"type": "image_url", "image_url": {"url": photo_url}}]
        usages = []
        for _ in range(2):
            reply = client.chat.completions.create(
                model="any",
                messages=[{"role": "user", "content": parts}],
                max_tokens=7,  # type: ignore[list-item]
            )
            usages.append(reply.usage)
        server.until("answers_running", 0)
        assert server.figure("prompt_tokens_total") == sum(u.prompt_tokens for u in usages if u)
        assert server.figure("generated_tokens_total") == 14
        assert server.figure("image_tokens_total") == 72
        assert server.figure("cached_tokens_total") > 36
        assert server.figure("pictures_total") == 2
        assert server.figure('answers_total{finish="length"}') == 2
        for name in ("queue", "encode", "prefill", "time_to_first_token", "answer"):
            assert server.figure(f"{name}_seconds_count") == 2
        first = server.figure("time_to_first_token_seconds_sum")
        assert 0 < first < server.figure("answer_seconds_sum")
        assert ask(server.port, "/metrics").headers["content-type"].startswith("text/plain")


def test_a_request_is_one_line_in_the_log_and_its_words_are_not(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llava_edge")
    reply = post(server)
    ask(server.port, "/health")  # which has no line; it is answered once the other's is written
    (line,) = caplog.messages
    assert line.startswith("POST /v1/chat/completions 200 in ")
    assert reply.headers["x-request-id"] in line and "5 said, length" in line
    assert "elephants" not in caplog.text
    ask(server.port, "/nothing%0d%0afalse?key=secret")
    post(server, temperature=-1)
    ask(server.port, "/health")
    _, missing, refused = caplog.messages
    assert missing.startswith("GET /nothing%0d%0afalse 404 in ")
    assert missing.endswith("not_found_error") and refused.endswith("invalid_request_error")


def test_keys_know_nothing_of_each_other(roomy_model: Llava) -> None:
    guards = GuardSettings(keys=("first-key-0123456789", "other-key-0123456789"))
    with serving_model(roomy_model.apart(), guards=guards) as server:
        cached = []
        for key in ("first", "first", "other", "first", "other"):
            with OpenAI(base_url=f"{server.url}/v1", api_key=f"{key}-key-0123456789") as client:
                reply = client.chat.completions.create(model="any", messages=QUESTION, max_tokens=5)  # type: ignore[arg-type]
                assert reply.usage and reply.usage.prompt_tokens_details
                cached.append(bool(reply.usage.prompt_tokens_details.cached_tokens))
        assert cached == [False, True, False, True, True]
        with (
            pytest.raises(openai.AuthenticationError),
            OpenAI(base_url=f"{server.url}/v1", api_key="no-key-0123456789") as client,
        ):
            client.models.list()


def test_a_connection_is_used_again(server: Served) -> None:
    connection = HTTPConnection("127.0.0.1", server.port)
    for status, fields in ((200, {}), (400, {"n": 3}), (200, {"stream": True}), (200, {})):
        body = json.dumps({"messages": QUESTION, "max_tokens": 3, **fields})
        connection.request("POST", "/v1/chat/completions", body, dict(JSON))
        reply = connection.getresponse()
        reply.read()
        assert reply.status == status
        socket = connection.sock
    assert socket is not None and socket is connection.sock
    connection.close()
