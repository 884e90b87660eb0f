"""Keys: one place reads them, compares them in constant time, and says whose request it is."""

import hmac
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from running_server import ask, guarded_echo

from llava_edge.errors import UsageError
from llava_edge.serve.guards.api_keys import VARIABLE, read_keys

ONE, TWO = "first-key-0123456789", "second-key-of-another-length-0123456789"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with guarded_echo(keys=(ONE, TWO)) as port:
        yield port


@pytest.mark.parametrize("key", [ONE, TWO])
@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}", "x-api-key"])
def test_each_key_is_accepted_and_told_on(port: int, key: str, header: str) -> None:
    name = header if header == "x-api-key" else "Authorization"
    answered = ask(port, headers=[(name, key if name == header else header.format(key))])
    assert answered.status == 200
    assert answered.json["key"] == sha256(key.encode()).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", f"Bearer {ONE}x")],
        [("Authorization", f"Bearer {ONE[:-1]}")],
        [("Authorization", f"Basic {ONE}")],
        [("Authorization", ONE)],
        [("Authorization", "Bearer")],
        [("Authorization", "")],
        [("Authorization", "Bearer sch\xf6n")],
        [("x-api-key", "\xff\xfe")],
        [("x-api-key", "")],
        [("x-api-key", f"{ONE},{TWO}")],
        [("Authorization", f"Bearer {ONE}"), ("x-api-key", "wrong")],
        [("Authorization", "Bearer wrong"), ("x-api-key", ONE)],
        [("Authorization", "Basic x"), ("x-api-key", ONE)],
        [("Authorization", f"Bearer {ONE}"), ("Authorization", f"Bearer {TWO}")],
        [("api-key", ONE)],
        [("Cookie", f"x-api-key={ONE}")],
    ],
)
def test_everything_else_is_refused(port: int, headers: list[tuple[str, str]]) -> None:
    for target in ("/v1/models", "/", "/metrics", f"/v1/models?api_key={ONE}"):
        refused = ask(port, target, headers=headers)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.error["type"] == "authentication_error"
        assert refused.error["code"] == "invalid_api_key"


def test_both_headers_may_agree(port: int) -> None:
    headers = [("Authorization", f"Bearer {ONE}"), ("x-api-key", ONE)]
    assert ask(port, headers=headers).status == 200


def test_open_paths_are_read_without_a_key_and_not_written(port: int) -> None:
    assert ask(port, "/health").json["key"] == ""
    assert ask(port, "/health", headers=[("x-api-key", ONE)]).json["key"] != ""
    json = [("Content-Type", "application/json")]
    assert ask(port, "/health", headers=json, method="POST", body=b"{}").status == 401


def test_without_keys_any_is_ignored() -> None:
    with guarded_echo() as port:
        assert ask(port, headers=[("Authorization", "Bearer DUMMY_KEY")]).json["key"] == ""


def test_keys_are_compared_in_constant_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    original = hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return original(first, second)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert ask(port, headers=[("x-api-key", ONE)]).status == 200
    assert ask(port, headers=[("x-api-key", "wrong")]).status == 401
    known = [sha256(key.encode()).digest() for key in (ONE, TWO)]
    assert [second for _, second in compared] == known * 2  # the first that fits ends nothing


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{ONE}\n\n  {TWO}\n{ONE}\n")
    third = "third-key-0123456789"
    assert read_keys(file, {VARIABLE: f"{third}, {ONE}"}) == (ONE, TWO, third)
    assert read_keys(None, {VARIABLE: third}) == (third,)
    assert read_keys(None, {}) == ()


@pytest.mark.parametrize("text", ["", "tiny-key", "with blanks in it", "schl\xfcssel-0123456789"])
def test_keys_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_keys(file, {})
    assert not text or text not in str(caught.value)


def test_a_file_of_keys_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file in (tmp_path / "absent", tmp_path, tmp_path / "binary"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_keys(file, {})
