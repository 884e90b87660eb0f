"""The generated pages of docs/ say what the code says."""

from generate import references

from llava_edge import __all__


def test_the_references_are_up_to_date() -> None:
    for path, text in references().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale; run `make docs`"


def test_every_public_name_is_in_the_reference() -> None:
    (api,) = (text for path, text in references().items() if path.name == "api.md")
    assert all(f"### llava_edge.{name}\n" in api for name in __all__ if name != "__version__")


def test_lines_are_short() -> None:
    for path, text in references().items():
        assert max(map(len, text.splitlines())) <= 100, path
