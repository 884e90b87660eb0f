"""Who is answered when; and that nothing is computed for a client that has gone."""

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import APIStatusError, OpenAI
from running_server import reply
from serving import Served, held, serving_model

from llava_edge import Llava


def client_of(server: Served, **options: object) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("stage", "hold"), [("its picture", 0), ("its prompt", 1), ("its words", 4)]
)
def test_an_answer_ends_when_its_client_goes(
    roomy_model: Llava, photo_url: str, stage: str, hold: int, stream: bool
) -> None:
    model = held(roomy_model, hold)
    with serving_model(model) as server:
        picture = {"type": "image_url", "image_url": photo_url}
        messages = [{"role": "user", "content": [picture, {"type": "text", "text": "x"}]}]
        connection = server.post(messages=messages, stream=stream)
        model.held.acquire()
        assert server.figure("answers_running") == 1
        connection.close()
        server.until("answers_running", 0)
        assert server.figure('answers_total{finish="cancelled"}') == 1
        assert server.figure('requests_total{status="499"}') == 1
        model.release.set()
        with server.post() as other:
            assert reply(other).status == 200


def test_a_question_leaves_the_queue_when_its_client_goes(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with serving_model(model, parallel=1) as server, server.post("first") as first:
        model.held.acquire()
        gone, last = server.post("gone"), server.post("last")
        server.until("answers_waiting", 2)
        gone.close()
        server.until("answers_waiting", 1)
        model.release.set()
        assert reply(first).status == reply(last).status == 200
        last.close()
    assert model.begun == ["first", "last"]


def test_questions_are_answered_in_their_order_and_too_many_refused(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with serving_model(model, parallel=1, queue=3) as server:
        connections = []
        for number in range(4):
            connections.append(server.post(str(number)))
            if number == 0:
                model.held.acquire()
            server.until("answers_waiting", number)
        with client_of(server) as client, pytest.raises(APIStatusError) as refused:
            client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "too many"}]
            )
        assert (refused.value.status_code, refused.value.code) == (429, "queue_full")
        assert int(refused.value.response.headers["retry-after"]) > 0
        model.release.set()
        for connection in connections:
            with connection:
                assert reply(connection).status == 200
    assert model.begun == ["0", "1", "2", "3"]


def test_so_many_answers_are_computed_together(roomy_model: Llava) -> None:
    model = held(roomy_model, 3)
    with serving_model(model, parallel=2) as server:
        connections = [server.post(str(number)) for number in range(3)]
        for _ in range(2):  # both are begun, and wait for each other's end no more
            model.held.acquire()
        server.until("answers_waiting", 1)
        assert server.figure("answers_running") == 2
        model.release.set()
        for connection in connections:
            with connection:
                assert reply(connection).status == 200


def test_a_slow_reader_stalls_itself_alone(roomy_model: Llava) -> None:
    with serving_model(roomy_model.apart(), send_seconds=0.3, send_buffer=4096) as server:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        body = {
            "messages": [{"role": "user", "content": "Tell"}],
            "stream": True,
            "logprobs": True,
            "top_logprobs": 20,
        }
        data = json.dumps(body).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
        slow.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n".encode() + data)
        server.until("answers_running", 1)
        with server.post() as other:
            assert reply(other).status == 200
        server.until("answers_running", 0)
        assert server.figure('answers_total{finish="cancelled"}') == 1
        slow.close()


def test_the_connection_is_kept_alive_while_a_prompt_is_read(roomy_model: Llava) -> None:
    model = held(roomy_model, 1)
    with serving_model(model, ping_seconds=0.02) as server:
        with server.post(stream=True) as connection:
            received = b""
            while received.count(b": ping\n\n") < 2:
                received += connection.recv(4096)
            assert received.index(b'"role":"assistant"') < received.index(b": ping\n\n")
            model.release.set()
            while b"data: [DONE]" not in received:
                received += connection.recv(4096)
        with client_of(server) as client:  # which does not mind
            stream = client.chat.completions.create(
                model="any", messages=[{"role": "user", "content": "x"}], max_tokens=5, stream=True
            )
            assert list(stream)[-1].choices[0].finish_reason == "length"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_many_clients_of_which_a_third_go_leave_nothing_behind(roomy_model: Llava) -> None:
    def ask(first: int) -> None:
        for number in range(first, 240, 4):
            goes, stream = number % 3 == 0, number % 2 == 0
            length = 400 if goes else 5
            with server.post(f"{number}", max_tokens=length, stream=stream) as connection:
                if stream or not goes:
                    connection.recv(64)

    model = roomy_model.apart()
    with serving_model(model, queue=240) as server, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: reply_to(server), range(4)))  # so that threads are there
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        list(pool.map(ask, range(4)))
        server.until("answers_running", 0)
        server.until("answers_waiting", 0)
        assert reply_to(server) == 200
        assert threading.active_count() == threads
        assert len(os.listdir("/proc/self/fd")) < files + 10  # those that are just closed
        assert server.figure('answers_total{finish="error"}') == 0


def reply_to(server: Served) -> int:
    with server.post() as connection:
        return reply(connection).status
