"""Pages of other origins are refused, or allowed by name and answered as CORS asks."""

from collections.abc import Iterator

import pytest
from running_server import ask, guarded_echo

KEY = "key-of-a-test-0123456789"
OTHER = "http://localhost:3000"
SHELL = "tauri://localhost"
JSON = ("Content-Type", "application/json")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with guarded_echo(origins=frozenset({OTHER, SHELL, "null"}), keys=(KEY,)) as port:
        yield port


@pytest.fixture(scope="module")
def alone() -> Iterator[int]:
    """The port of a server that allows no other origin."""
    with guarded_echo() as port:
        yield port


def test_programs_send_neither_header(alone: int) -> None:
    answered = ask(alone, headers=[JSON], method="POST", body=b"{}")
    assert answered.status == 200
    assert "access-control-allow-origin" not in answered.headers
    assert answered.headers["x-content-type-options"] == "nosniff"


def test_the_servers_own_page_is_answered(alone: int) -> None:
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        headers = [JSON, ("Origin", f"http://{host}"), ("Sec-Fetch-Site", "same-origin")]
        assert ask(alone, headers=headers, method="POST", body=b"{}", host=host).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Origin", "http://localhost:3000")],  # another port is another origin
        [("Origin", "http://localhost")],
        [("Origin", "http://localhost:8000.evil.example")],
        [("Origin", "")],
        [("Origin", "http://localhost:8000"), ("Origin", "https://evil.example")],
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")],  # a form
    ],
)
def test_what_another_page_posts_is_refused(alone: int, headers: list[tuple[str, str]]) -> None:
    headers = [JSON, *headers]
    refused = ask(alone, headers=headers, method="POST", body=b"{}", host="localhost:8000")
    assert refused.status == 403
    assert refused.error["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in refused.headers


def test_a_link_to_the_page_may_be_followed(alone: int) -> None:
    link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert ask(alone, "/", headers=link).status == 200
    embedded = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")]
    assert ask(alone, "/", headers=embedded).status == 403


@pytest.mark.parametrize("origin", [OTHER, SHELL, "null"])
def test_an_allowed_origin_reads_the_reply(port: int, origin: str) -> None:
    headers = [("Origin", origin), ("Sec-Fetch-Site", "cross-site"), ("x-api-key", KEY)]
    answered = ask(port, headers=headers)
    assert answered.status == 200
    assert answered.headers["access-control-allow-origin"] == origin
    assert answered.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answered.headers


def test_an_allowed_origin_reads_errors_too(port: int) -> None:
    refused = ask(port, headers=[("Origin", OTHER)])
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == OTHER


def test_a_preflight_is_answered_without_a_key(port: int) -> None:
    asked = "authorization,content-type,x-stainless-os,x-stainless-retry-count,x-evil"
    headers = [
        ("Origin", OTHER),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", asked),
    ]
    answered = ask(port, "/v1/chat/completions", headers=headers, method="OPTIONS")
    assert answered.status == 204 and answered.body == b""
    assert answered.headers["access-control-allow-origin"] == OTHER
    assert "POST" in answered.headers["access-control-allow-methods"]
    allowed = answered.headers["access-control-allow-headers"].split(", ")
    assert allowed == ["authorization", "content-type", "x-stainless-os", asked.split(",")[3]]


def test_a_preflight_of_another_origin_is_refused(port: int) -> None:
    headers = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")]
    assert ask(port, headers=headers, method="OPTIONS").status == 403


def test_options_without_a_question_needs_a_key(port: int) -> None:
    assert ask(port, method="OPTIONS").status == 401
