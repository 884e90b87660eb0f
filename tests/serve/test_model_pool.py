"""Several bundles behind one server: which are loaded, when, and for whom."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest
from openai import OpenAI
from running_server import ask, reply
from serving import HeldLlava, Served, held, serving_models

from llava_edge import BundleError, Llava, UsageError, load
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.model_memory import ModelMemory
from llava_edge.serve.model_pool import ModelPool


def hosts(
    model: Llava, names: str = "abc", made: Callable[[str], Llava] | None = None
) -> list[ModelHost]:
    """The same bundle under several names; `made` is what loading a name gives."""

    def host(name: str) -> ModelHost:
        load_model = (lambda path: made(name)) if made else (lambda path: model.apart())
        return ModelHost(model.path, alias=name, load_model=load_model)

    return list(map(host, names))


def client_of(server: Served, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def asked(client: OpenAI, name: str) -> Any:
    messages: Any = [{"role": "user", "content": "What?"}]
    return client.chat.completions.create(model=name, messages=messages, max_tokens=5)


def loaded(server: Served) -> list[str]:
    return list(ask(server.port, "/health").json["loaded"])


def test_a_model_is_loaded_when_it_is_asked_for(roomy_model: Llava) -> None:
    with (
        serving_models(hosts(roomy_model), ollama=True) as server,
        client_of(server) as client,
    ):
        assert [model.id for model in client.models.list()] == ["a", "b", "c"]
        assert loaded(server) == []
        assert asked(client, "b").model == "b"
        assert loaded(server) == ["b"]
        assert client.responses.create(model="c", input="What?", max_output_tokens=5).model == "c"
        assert client.models.retrieve("a").id == "a"
        with ollama.Client(server.url) as other:
            assert other.generate("a").done_reason == "load"  # by which its clients load one
            assert [model.model for model in other.ps().models] == loaded(server) == [*"abc"]
            assert [model.model for model in other.list().models] == [*"abc"]
            assert other.chat("b:latest", [{"role": "user", "content": "x"}])["model"] == "b"


@pytest.mark.parametrize("name", ["d", "", "../a"])
def test_another_name_is_told_which_there_are(roomy_model: Llava, name: str) -> None:
    with (
        serving_models(hosts(roomy_model), ollama=True) as server,
        client_of(server) as client,
        ollama.Client(server.url) as other,
    ):
        with pytest.raises(openai.NotFoundError, match="'a', 'b', 'c'") as missing:
            asked(client, name)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(ollama.ResponseError, match="'a', 'b', 'c'") as unknown:
            other.show(name or "d")
        assert unknown.value.status_code == 404
        assert asked(client, "a").model == "a"


def test_the_model_not_used_for_longest_makes_room(roomy_model: Llava) -> None:
    with serving_models(hosts(roomy_model), memory=2) as server, client_of(server) as client:
        for name, there in (("a", "a"), ("b", "ab"), ("a", "ab"), ("c", "ac"), ("b", "bc")):
            assert asked(client, name).model == name
            assert loaded(server) == [*there]


def test_a_model_that_answers_is_not_unloaded(roomy_model: Llava) -> None:
    models: dict[str, HeldLlava] = {}

    def made(name: str) -> Llava:
        models[name] = held(roomy_model, 1 if name == "a" and "a" not in models else 10**9)
        return models[name]

    with (
        serving_models(hosts(roomy_model, "ab", made), memory=1, parallel=2) as server,
        server.post("first", model="a") as first,
    ):
        server.until("answers_running", 1)
        models["a"].held.acquire()
        other = server.post(model="b")
        server.until("loading_waiting", 1)
        gone = server.post(model="a")  # comes after b, or it would keep b out for ever
        server.until("loading_waiting", 2)
        gone.close()
        server.until("loading_waiting", 1)
        assert loaded(server) == ["a"]
        models["a"].release.set()
        assert reply(first).json["model"] == "a"
        assert reply(other).json["model"] == "b"
        other.close()
        assert loaded(server) == ["b"]
        assert models["a"].begun == ["first"]


def test_who_waits_for_a_model_may_go(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with (
        serving_models(hosts(roomy_model, "ab", lambda name: model), memory=1) as server,
        server.post(model="a") as first,
    ):
        model.held.acquire()
        gone = server.post(model="b")
        server.until("loading_waiting", 1)
        gone.close()
        server.until("loading_waiting", 0)
        model.release.set()
        assert reply(first).status == 200
        assert loaded(server) == ["a"]


def test_too_many_may_not_wait_and_none_once_the_server_ends(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with serving_models(
        hosts(roomy_model, "ab", lambda name: model), memory=1, parallel=1, queue=1
    ) as server:
        answering = server.post(model="a")
        model.held.acquire()
        waiting = [server.post(model="b") for _ in range(2)]
        server.until("loading_waiting", 2)
        with server.post(model="b") as refused:
            found = reply(refused)
            assert (found.status, found.error["code"]) == (429, "queue_full")
    for connection in waiting:  # the server has ended
        with connection:
            found = reply(connection)
            assert (found.status, found.error["code"]) == (503, "stopping")
    assert reply(answering).json["choices"][0]["finish_reason"] == "length"
    answering.close()


def test_a_model_that_is_not_asked_is_unloaded(roomy_model: Llava) -> None:
    there: list[weakref.ref[Llava]] = []

    def made(name: str) -> Llava:
        model = load(roomy_model.path)
        there.append(weakref.ref(model))
        return model

    with (
        serving_models(hosts(roomy_model, "ab", made), unload_after=0.05) as server,
        client_of(server) as client,
    ):
        for _ in range(2):
            assert asked(client, "a").model == "a"
            server.until("models_loaded", 0)
    gc.collect()
    assert len(there) == 2 and not any(model() for model in there)


def test_a_single_model_is_loaded_again(roomy_model: Llava) -> None:
    with (
        serving_models(hosts(roomy_model, "a"), unload_after=0.05) as server,
        client_of(server) as client,
    ):
        for _ in range(2):
            server.until("models_loaded", 0)
            assert ask(server.port, "/health").json == {"status": "ok", "loaded": []}
            assert asked(client, "whatever").model == "a"


def test_a_model_that_cannot_be_loaded_leaves_the_others(
    roomy_model: Llava, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def made(name: str) -> Llava:
        if name == "a" and broken:
            raise BundleError("The bundle /secret is damaged; copy it again.")
        return roomy_model.apart()

    with (
        serving_models(hosts(roomy_model, "ab", made)) as server,
        client_of(server) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="'a' cannot be loaded") as failed:
            asked(client, "a")
        assert failed.value.code == "load_failed"
        assert failed.value.response.headers["x-should-retry"] == "false"
        assert "/secret is damaged" in caplog.text and "Traceback" not in caplog.text
        assert asked(client, "b").model == "b"
        broken = False
        assert asked(client, "a").model == "a"


def test_keys_know_nothing_of_each_other(roomy_model: Llava) -> None:
    keys = ("first-key-0123456789", "other-key-0123456789")
    with serving_models(hosts(roomy_model), guards=GuardSettings(keys=keys)) as server:
        cached = []
        for key in (keys[0], keys[0], keys[1]):
            with client_of(server, key) as client:
                cached.append(asked(client, "a").usage.prompt_tokens_details.cached_tokens > 0)
        assert cached == [False, True, False]


def test_names_must_differ(roomy_model: Llava) -> None:
    with pytest.raises(UsageError, match="named a;"):
        ModelPool(hosts(roomy_model, "aba"), ModelMemory(None, {}))


def test_what_a_bundle_takes_of_the_budget(tiny_bundle: Path) -> None:
    (host,) = found = [ModelHost(tiny_bundle)]
    decoder, size = host.config.decoder, sum(f.size for f in host.config.files.values())
    cache = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 4
    need = int(1.2 * size) + 3 * cache * min(decoder.context_length, 50)
    for limit, there in ((2 * need, True), (2 * need - 1, False)):
        memory = ModelMemory.on_device(found, limit, "cpu", context=50, contexts=3)
        assert memory.holds(host, []) and memory.holds(host, [host]) is there
    with pytest.raises(UsageError, match="allow more"):
        ModelMemory.on_device(found, need - 1, "cpu", context=50, contexts=3)
    assert ModelMemory.on_device(found, None, "cpu").holds(host, [host])
