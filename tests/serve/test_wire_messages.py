"""Turns of the wire as messages; the rest is tested by a client, in test_completions.py."""

import asyncio

from llava_edge import Message, Picture
from llava_edge.serve.completion_request import ChatMessage, ContentPart
from llava_edge.serve.wire_messages import PictureUrl, messages_of, with_pictures

SYSTEM = ChatMessage("system", "Be brief.")


def picture(url: str) -> ContentPart:
    return ContentPart("image_url", image_url=url)


def test_system_words_stand_before_the_question_where_the_format_has_no_place_for_them() -> None:
    turns = [SYSTEM, ChatMessage("user", [picture("one"), ContentPart("text", "What?")])]
    (message,) = messages_of(turns, system_place=False)
    one = Picture(PictureUrl("messages[1].content[0].image_url", "one"))
    assert message == Message("user", ("Be brief.", "\n\n", one, "What?"))
    system, question = messages_of(turns, system_place=True)
    assert system == Message("system", ("Be brief.",))
    assert question == Message("user", (one, "What?"))


def test_each_picture_gets_its_own_bytes() -> None:
    turns = [
        ChatMessage("user", [picture("one"), picture("two")]),
        ChatMessage("assistant", "Yes."),
        ChatMessage("user", [ContentPart("text", "And"), picture("three")]),
    ]
    asked: list[PictureUrl] = []

    async def read(urls: object) -> list[bytes]:
        asked.extend(urls)  # type: ignore[arg-type]
        return [url.url.encode() for url in asked]

    found = asyncio.run(with_pictures(messages_of(turns, system_place=True), read))
    assert [url.place for url in asked] == [
        "messages[0].content[0].image_url",
        "messages[0].content[1].image_url",
        "messages[2].content[1].image_url",
    ]
    assert [part for message in found for part in message.content] == [
        Picture(b"one"),
        Picture(b"two"),
        "Yes.",
        "And",
        Picture(b"three"),
    ]
