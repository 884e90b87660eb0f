"""Questions and answers: asked, streamed, stopped, edited, asked again."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from page_driver import (
    Dictation,
    answer,
    ask,
    choose,
    conversations,
    drop,
    picture,
    send,
    sent_pictures,
    wait_for_property,
)
from serving import HeldLlava, Served, serving_model

from llava_edge import Llava, Message, Options, Picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

GROWING = ".words[aria-busy=true] p"
# After the pieces "encoding" and "reading" of a question with one picture.
BEFORE_THE_FIRST_WORD = pytest.mark.parametrize("waits", [2], indirect=True)


def test_a_dropped_picture_is_asked_about_and_the_models_words_are_shown(
    roomy_model: Llava, page: "Page"
) -> None:
    """The words are the model's own to the very picture that was sent."""
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Max tokens").fill("12")
    page.get_by_role("button", name="Save").click()
    drop(page, picture())
    page.wait_for_selector("#pending img")
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, "What is it?")
    body = request.value.post_data_json
    (sent,) = sent_pictures(body)
    assert sent.size == (40, 30)
    assert body["messages"][-1]["content"][1] == {"type": "text", "text": "What is it?"}
    question = Message("user", [Picture(sent), "What is it?"])
    words = roomy_model.answer([question], options=Options(max_tokens=12))
    page.get_by_role("button", name="Copy the answer").click()
    page.wait_for_selector("text=Copied the answer.")
    assert page.evaluate("navigator.clipboard.readText()") == words
    page.wait_for_selector("text=The answer reached its limit of tokens.")
    figures = page.locator(".figures").inner_text()
    assert re.fullmatch(r"12 tokens · [\d.,]+ tokens/s · prompt [\d.]+ s", figures)
    assert re.fullmatch(r"\d+ of 4,096 tokens", page.locator("#used").inner_text())


@BEFORE_THE_FIRST_WORD
def test_while_the_prompt_is_read_the_page_says_how_far(waiting_page: "Page") -> None:
    choose(waiting_page, picture())
    send(waiting_page, "What is it?")
    waiting_page.wait_for_selector(r"text=/Reading 0 of \d+ tokens/")
    assert waiting_page.locator("progress").evaluate("bar => bar.value") == 0


def test_words_are_shown_as_they_come(waits: HeldLlava, waiting_page: "Page") -> None:
    says = Dictation(waiting_page)
    says.words.append("A red field, and more.")
    send(waiting_page, "What is it?")
    waiting_page.wait_for_selector(GROWING)
    begun = waiting_page.locator(GROWING).inner_text()
    assert "A red field, and more.".startswith(begun) and len(begun) < 12
    assert waiting_page.locator("progress").count() == 0
    waits.release.set()
    assert answer(waiting_page) == "A red field, and more."
    waiting_page.wait_for_selector(".words[aria-busy=false]")


def test_earlier_turns_go_along(says: Dictation, page: "Page") -> None:
    says.words.extend(["It is *red*.", "Yes."])
    choose(page, picture(), picture("other.png"))
    ask(page, "What colour?")
    ask(page, "Sure?")
    first, second, third = says.asked[1]["messages"]
    assert [part["type"] for part in first["content"]] == ["image_url", "image_url", "text"]
    assert second == {"role": "assistant", "content": "It is *red*."}
    assert third["content"] == [{"type": "text", "text": "Sure?"}]


def test_stop_ends_the_work_and_keeps_the_words(
    roomy_model: Llava, open_page: Callable[..., "Page"]
) -> None:
    """A random model never ends its answer by itself."""
    with serving_model(roomy_model.apart()) as served:
        page = open_page(served)
        send(page, "Count.")
        page.wait_for_selector(".words :not(:empty)")
        page.get_by_role("button", name="Stop the answer").click()
        page.wait_for_selector("text=Stopped.")
        served.until('answers_total{finish="cancelled"}', 1)
        wait_for_property(page, ":focus", "id", "words")
        page.get_by_role("button", name="Copy the answer").click()
        page.wait_for_selector("text=Copied the answer.")
        kept = page.evaluate("navigator.clipboard.readText()")
        with page.expect_request("**/v1/chat/completions") as request:
            send(page, "Go on.")
        assert kept and request.value.post_data_json["messages"][1]["content"] == kept


def test_a_question_without_an_answer_goes_with_the_next(
    waits: HeldLlava, open_page: Callable[..., "Page"]
) -> None:
    """The first is refused, since another client is answered and nobody may wait."""
    with serving_model(waits, parallel=1, queue=0) as served:
        page = open_page(served)
        says = Dictation(page)
        with served.post("Me first."):
            waits.held.acquire()
            choose(page, picture())
            send(page, "What is it?")
            page.wait_for_selector(".error >> text=questions are waiting already")
        waits.release.set()
        served.until("answers_running", 0)
        ask(page, "And now?")
    (message,) = says.asked[1]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text", "text"]


def test_an_edited_question_replaces_what_followed_until_undone(
    says: Dictation, page: "Page"
) -> None:
    says.words.extend(["First.", "Second.", "Third."])
    choose(page, picture())
    ask(page, "One?")
    ask(page, "Two?")
    page.get_by_role("button", name="Edit the question").first.click()
    page.wait_for_selector("text=Editing a question")
    assert page.locator("#pending img").count() == 1
    assert ask(page, "Three?") == "Third."
    assert page.locator(".bubble").all_inner_texts() == ["Three?"]
    (message,) = says.asked[2]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".bubble:text-is('Two?')")
    assert page.locator("article .words").all_inner_texts() == ["First.", "Second."]


def test_an_answer_is_given_again(says: Dictation, page: "Page") -> None:
    says.words.extend(["First.", "Another."])
    ask(page, "One?")
    page.get_by_role("button", name="Answer again").click()
    page.wait_for_selector("text=Another.")
    assert page.locator("article .words").all_inner_texts() == ["Another."]
    assert says.asked[0]["messages"] == says.asked[1]["messages"]


def test_an_answer_grows_while_another_conversation_is_read(
    waits: HeldLlava, waiting_page: "Page"
) -> None:
    Dictation(waiting_page).words.append("A long answer.")
    send(waiting_page, "Tell me.")
    waiting_page.wait_for_selector(GROWING)
    waiting_page.get_by_role("button", name="New conversation").click()
    waiting_page.wait_for_selector("#welcome")
    waits.release.set()
    waiting_page.wait_for_selector("#stop", state="hidden")
    conversations(waiting_page).click()
    assert answer(waiting_page) == "A long answer."


def test_the_answer_is_copied_as_it_was_written(says: Dictation, page: "Page") -> None:
    says.words.append("It is **red**.")
    assert ask(page, "One?") == "It is red."
    page.get_by_role("button", name="Copy the answer").click()
    page.wait_for_selector("text=Copied the answer.")
    assert page.evaluate("navigator.clipboard.readText()") == "It is **red**."


def test_options_go_along_and_are_kept(says: Dictation, page: "Page") -> None:
    ask(page, "One?")
    assert not {"temperature", "top_p", "max_tokens", "seed"} & says.asked[0].keys()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("System words").fill("Answer in one word.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Max tokens").fill("0")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_label("Max tokens").evaluate("field => !field.validity.valid")
    page.get_by_label("Max tokens").fill("20")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Save").click()
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    ask(page, "Two?")
    body = says.asked[1]
    assert body["messages"][0] == {"role": "system", "content": "Answer in one word."}
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.5, 20, 7)
    assert "top_p" not in body


def test_one_of_several_models_is_asked(server: Served, says: Dictation, page: "Page") -> None:
    """The list is told to the page, since the server has one model."""
    listed = json.loads(server.get("/v1/models"))
    others = [{**listed["data"][0], "id": name} for name in ("small", "large")]
    page.route("**/v1/models", lambda route: route.fulfill(json={**listed, "data": others}))
    page.reload()
    page.get_by_role("combobox", name="Model").select_option("large")
    ask(page, "One?")
    assert says.asked[0]["model"] == "large"


@pytest.mark.parametrize("waits", [300], indirect=True)
def test_the_reader_who_scrolls_up_is_left_there(waits: HeldLlava, waiting_page: "Page") -> None:
    page = waiting_page
    at_end = "scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2"
    Dictation(page).words.append("\n\n".join(f"Line {number}." for number in range(80)))
    send(page, "Tell me.")
    page.wait_for_selector("text=Line 20.")
    while not waits.held.acquire(blocking=False):
        page.evaluate("0")  # which lets Playwright work
    assert page.evaluate(at_end)
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -600)
    page.wait_for_selector("#to-end:visible")
    before = page.evaluate("scroller.scrollTop")
    waits.release.set()
    answer(page)
    assert page.evaluate("scroller.scrollTop") == before
    page.get_by_role("button", name="Go to the newest words").click()
    page.wait_for_selector("#to-end", state="hidden")
    assert page.evaluate(at_end)
    page.get_by_role("textbox", name="Question").press("PageUp")
    page.wait_for_selector("#to-end:visible")
    page.keyboard.press("PageDown")
    page.wait_for_selector("#to-end", state="hidden")
