"""`llava-edge serve` as a process: where it is, how it ends, and why it does not begin."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import LOOK, refusal, run
from openai import OpenAI

from llava_edge import Llava


@contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL that it says."""
    command = [sys.executable, "-m", "llava_edge", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **LOOK}
    ) as process:
        assert process.stderr is not None
        try:
            match = re.search(r"http://\S+", process.stderr.readline())
            assert match is not None
            yield process, match[0]
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for a process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_answers_say_that_they_end(roomy_model: Llava, number: int) -> None:
    arguments = (roomy_model.path, "--parallel", "1", "--alias", "mine")
    with started(*arguments) as (process, url):
        with (
            OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=9) as client,
            client.chat.completions.create(
                model="mine", messages=[{"role": "user", "content": "Tell"}], stream=True
            ) as stream,
        ):
            first = next(stream)
            process.send_signal(number)
            last = [*stream][-1]
        assert first.model == last.model == "mine"
        assert last.choices[0].finish_reason == "length"
        assert process.wait(timeout=60) == -number
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        assert lines[-1].endswith("cancelled")  # and not cut off, as what lasts 5 s longer
        assert not re.search("Traceback|Cancel", "".join(lines))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for a process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_it_loads(roomy_model: Llava, number: int) -> None:
    with started(roomy_model.path) as (process, _):
        process.send_signal(number)
        assert process.wait(timeout=60) == -number
        assert process.stderr is not None
        assert not re.search("Traceback|terminate", process.stderr.read())


def test_so_many_conversations_are_remembered_as_are_answered_at_a_time(
    roomy_model: Llava,
) -> None:
    with (
        started(roomy_model.path, "--parallel", "3") as (_, url),
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=9) as client,
    ):
        for again in (False, True):
            for words in ("one", "two", "three"):
                usage = client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": words * 9}], max_tokens=2
                ).usage
                assert usage and usage.prompt_tokens_details
                new = usage.prompt_tokens - (usage.prompt_tokens_details.cached_tokens or 0)
                assert (new <= 2) is again


def test_several_bundles(roomy_model: Llava, tiny_bundle: Path) -> None:
    line = refusal(run("serve", roomy_model.path, roomy_model.path, "--port", 0), 2)
    assert "Two of the bundles are named" in line
    assert "alias" in refusal(run("serve", roomy_model.path, tiny_bundle, "--alias", "x"), 2)
    assert "takes about" in refusal(run("serve", roomy_model.path, "--memory", 0.000001), 2)
    for flag in ("--memory", "--unload-after"):
        assert "is -1" in refusal(run("serve", roomy_model.path, flag, -1), 2)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(run("serve", tmp_path / "nothing", "--port", 0))


def test_a_bundle_that_does_not_load(roomy_model: Llava) -> None:
    result = run("serve", roomy_model.path, "--port", 0, "--context", 999_999)
    assert result.returncode in (1, 2)
    *_, line = result.stderr.splitlines()
    assert line.startswith("Error: ") and "context" in line


def test_a_port_that_is_taken(roomy_model: Llava) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", roomy_model.path, "--port", taken.getsockname()[1])
    assert "cannot be used" in refusal(result, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--parallel", 0),
        ("--queue", -1),
        ("--port", 70_000),
        ("--max-tokens", 0),
        ("--ping-seconds", 0.0),
    ],
)
def test_settings_out_of_their_range(roomy_model: Llava, arguments: tuple[object, ...]) -> None:
    assert str(arguments[1]).replace("_", "") in refusal(
        run("serve", roomy_model.path, *arguments), 2
    )


def test_other_machines_need_a_key(roomy_model: Llava, tmp_path: Path) -> None:
    assert "key" in refusal(run("serve", roomy_model.path, "--host", "0.0.0.0"), 2)
    (tmp_path / "keys").write_text("short\n")
    result = run("serve", roomy_model.path, "--api-key-file", tmp_path / "keys")
    assert "16 characters" in refusal(result, 2)


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; sys.argv = ['llava-edge', 'serve']\n"
        "from llava_edge.cli.entry import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install '.[serve]'" in refusal(result)
