"""Conversations that the browser keeps: listed, found, renamed, deleted, taken along."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page_driver import (
    Dictation,
    answer,
    ask,
    choose,
    conversations,
    picture,
    send,
    wait_for_property,
)
from serving import HeldLlava, Served

if TYPE_CHECKING:
    from playwright.sync_api import Page


def begin(page: "Page", *questions: str) -> None:
    """A conversation for each question."""
    for question in questions:
        page.get_by_role("button", name="New conversation").click()
        page.wait_for_selector("#welcome")
        ask(page, question)


def test_a_conversation_is_there_after_a_reload(says: Dictation, page: "Page") -> None:
    says.words.append("It is **red**.")
    choose(page, picture())
    ask(page, "What colour?")
    page.reload()
    assert answer(page) == "It is red."
    assert page.locator(".bubble").all_inner_texts() == ["What colour?"]
    wait_for_property(page, ".pictures img", "naturalWidth", 40)
    page.wait_for_selector(".figures")
    page.wait_for_selector("#model:not(:empty)")
    ask(page, "Sure?")
    sent = says.asked[1]["messages"]
    assert [part["type"] for part in sent[0]["content"]] == ["image_url", "text"]


def test_an_answer_that_a_reload_broke_off_can_be_asked_for_again(
    waits: HeldLlava, waiting_page: "Page"
) -> None:
    says = Dictation(waiting_page)
    send(waiting_page, "Count.")
    waiting_page.wait_for_selector(".words[aria-busy=true] p")
    waiting_page.reload()
    waiting_page.wait_for_selector("text=The answer broke off.")
    waiting_page.wait_for_selector("#model:not(:empty)")
    waits.release.set()
    says.words.append("Whole.")
    waiting_page.get_by_role("button", name="Answer again").click()
    waiting_page.wait_for_selector("text=Whole.")


def test_the_newest_stand_first_and_are_found_by_their_words(says: Dictation, page: "Page") -> None:
    says.words.extend(["A zebra.", "A taxi."])
    begin(page, "First?", "Second?")
    page.wait_for_selector("nav li:nth-child(2)")
    assert conversations(page).all_inner_texts() == ["Second?", "First?"]
    page.get_by_label("Search conversations").fill("ZEBRA")
    page.wait_for_selector("nav li:nth-child(2)", state="detached")
    assert conversations(page).all_inner_texts() == ["First?"]
    conversations(page).click()
    page.wait_for_selector("text=A zebra.")
    page.go_back()
    page.wait_for_selector("text=A taxi.")


def test_a_conversation_is_renamed_by_the_keyboard(says: Dictation, page: "Page") -> None:
    begin(page, "First?")
    page.get_by_role("button", name="Rename First?").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("Taxis")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text-is('Taxis')")
    ask(page, "More?")
    page.reload()
    page.wait_for_selector("h1:text-is('Taxis')")
    assert conversations(page).all_inner_texts() == ["Taxis"]


def test_a_deleted_conversation_comes_back_when_that_is_undone(
    says: Dictation, page: "Page"
) -> None:
    begin(page, "First?")
    conversations(page).hover()
    page.get_by_role("button", name="Delete First?").click()
    page.wait_for_selector("text=No conversations yet.")
    page.wait_for_selector("#welcome")
    page.get_by_role("button", name="Undo").click()
    answer(page)
    page.wait_for_selector("nav button.open")
    conversations(page).hover()
    page.get_by_role("button", name="Delete First?").click()
    page.wait_for_selector("text=No conversations yet.")
    page.reload()
    page.wait_for_selector("text=No conversations yet.")


def test_a_conversation_deleted_while_its_answer_grows_stays_deleted(
    waits: HeldLlava, waiting_page: "Page"
) -> None:
    page = waiting_page
    send(page, "Count.")
    page.wait_for_selector(".words[aria-busy=true] p")
    conversations(page).hover()
    page.get_by_role("button", name="Delete Count.").click()
    page.wait_for_selector("text=Deleted “Count.”.")
    page.wait_for_selector("#welcome")
    page.reload()
    page.wait_for_selector("text=No conversations yet.")


def test_words_that_wait_to_be_sent_stay_when_another_conversation_is_read(
    says: Dictation, page: "Page"
) -> None:
    begin(page, "First?")
    page.get_by_role("button", name="New conversation").click()
    page.wait_for_selector("#welcome")
    page.keyboard.type("Second?")
    choose(page, picture())
    conversations(page).click()
    answer(page)
    assert page.locator("#pending img").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("article:nth-child(4) .actions")
    assert page.locator(".bubble").all_inner_texts() == ["First?", "Second?"]


def test_another_tab_follows(server: Served, says: Dictation, page: "Page") -> None:
    other = page.context.new_page()
    other.goto(server.url)
    other.wait_for_selector("text=No conversations yet.")
    begin(page, "First?")
    conversations(other).click()
    answer(other)
    ask(page, "Second?")
    other.wait_for_selector(".bubble:text-is('Second?')")
    answer(other)


def test_conversations_go_to_a_file_and_back_with_their_pictures(
    server: Served,
    says: Dictation,
    page: "Page",
    open_page: Callable[..., "Page"],
    tmp_path: Path,
) -> None:
    says.words.append("It is *red*.")
    choose(page, picture())
    ask(page, "What colour?")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / "conversations.json"
    download.value.save_as(path)
    elsewhere = open_page(server)
    elsewhere.set_input_files("#import-file", path)
    elsewhere.wait_for_selector("text=Imported 1 of 1")
    conversations(elsewhere).click()
    assert answer(elsewhere) == "It is red."
    wait_for_property(elsewhere, ".pictures img", "naturalWidth", 40)
    elsewhere.set_input_files("#import-file", path)
    elsewhere.wait_for_selector("text=Imported 0 of 1")
    with elsewhere.expect_download() as second:
        elsewhere.get_by_role("button", name="Export").click()
    assert json.loads(Path(second.value.path()).read_text()) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "The file is no JSON."),
        ('{"conversations": []}', "The file holds no conversations of this page."),
        (
            '{"format": "llava-edge conversations", "version": 2, "conversations": []}',
            "The file has version 2; this page reads version 1.",
        ),
        (
            '{"format": "llava-edge conversations", "version": 1, "conversations": [{"id": "a",'
            '"turns": [{"role": "user", "pictures": [{"data": "data:text/html;base64,QQ=="}]}]}]}',
            "A picture in the file is no JPEG, PNG or WebP",
        ),
    ],
    ids=["words", "another file", "version", "picture"],
)
def test_a_file_of_something_else_is_refused(page: "Page", text: str, words: str) -> None:
    file = {"name": "file.json", "mimeType": "application/json", "buffer": text.encode()}
    page.set_input_files("#import-file", file)
    page.wait_for_selector(f"text={words}")
    page.wait_for_selector("text=No conversations yet.")
