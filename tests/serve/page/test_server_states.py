"""A server that loads, refuses, fails, wants a key, goes away and comes back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from page_driver import Dictation, answer, ask, send, wait_for_property
from serving import ADDRESS, HeldLlava, Served, held, serving_model

from llava_edge import Llava
from llava_edge.errors import DeviceError
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.http_server import listening_socket
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.model_memory import ModelMemory
from llava_edge.serve.serve import make_pool, make_server
from llava_edge.serve.serve_settings import ServeSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

KEYS = GuardSettings(keys=("the right key of this test",))


@contextmanager
def serving_at(port: int, load_model: Callable[[Path], Llava], path: Path) -> Iterator[Served]:
    """A server at a port that loads its model."""
    host = ModelHost(path, load_model=load_model)
    pool = make_pool([host], ModelMemory(None, {}), ServeSettings())
    server = make_server(pool, ServeSettings())
    listening = listening_socket(ADDRESS, port)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Served(listening.getsockname()[1], host)
    finally:
        server.stop()
        thread.join()


def test_while_the_model_is_loaded_the_page_says_so_and_then_goes_on(
    roomy_model: Llava, visit: Callable[..., "Page"]
) -> None:
    loaded = threading.Event()

    def load_model(path: Path) -> Llava:
        loaded.wait()
        return roomy_model.apart()

    with serving_at(0, load_model, roomy_model.path) as served:
        page = visit(served.url)
        says = Dictation(page)
        page.wait_for_selector("#banner:text-is('The model is loading; ask again in a moment.')")
        page.get_by_role("textbox", name="Question").fill("Early?")
        assert page.get_by_role("button", name="Send", exact=True).is_disabled()
        loaded.set()
        page.wait_for_selector("#banner", state="hidden")
        page.wait_for_selector(f"#model:text-is('{served.host.id}')")
        page.wait_for_selector("#device:text-is('cpu')")
        says.words.append("Now.")
        page.get_by_role("button", name="Send", exact=True).click()
        assert answer(page) == "Now."


def test_a_refusal_is_shown_in_the_servers_words_and_can_be_tried_again(page: "Page") -> None:
    send(page, "word " * 5000)
    page.wait_for_selector(".error >> text=/[0-9,]+ tokens/")
    shown = page.locator(".error").inner_text()
    page.wait_for_selector(f"#status:text-is('The answer failed: {shown}')", state="attached")
    page.get_by_role("button", name="Edit the question").click()
    Dictation(page)
    assert ask(page, "Shorter?") == "An answer."
    assert page.locator(".error").count() == 0
    assert page.locator("article").count() == 2


def test_an_error_amid_the_answer_leaves_its_words(
    roomy_model: Llava, open_page: Callable[..., "Page"]
) -> None:
    model = held(roomy_model, 4, DeviceError("The device has run out of memory."))
    with serving_model(model) as served:
        page = open_page(served)
        Dictation(page).words.append("Half an answer.")
        shown = ask(page, "One?")
        assert shown and "Half an answer.".startswith(shown)
        page.wait_for_selector(".error:text-is('The device has run out of memory.')")


def test_a_key_is_asked_for_and_kept_with_the_tab(
    roomy_model: Llava, visit: Callable[..., "Page"]
) -> None:
    (key,) = KEYS.keys
    with serving_model(roomy_model.apart(), guards=KEYS) as served:
        page = visit(served.url)
        Dictation(page)
        page.wait_for_selector("#key-reason:text('key')")
        page.get_by_label("API key").fill("a wrong key")
        page.keyboard.press("Enter")
        wait_for_property(page, "#key [name=key]", "value", "")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#model:not(:empty)")
        assert ask(page, "One?") == "An answer."
        page.reload()
        page.wait_for_selector("#model:not(:empty)")
        assert key not in page.evaluate("JSON.stringify(localStorage)")


def test_without_a_key_the_question_stays(roomy_model: Llava, visit: Callable[..., "Page"]) -> None:
    with serving_model(roomy_model.apart(), guards=KEYS) as served:
        page = visit(served.url)
        page.wait_for_selector("#key[open]")
        page.keyboard.press("Escape")
        send(page, "One?")
        page.wait_for_selector("#key[open]")
        page.keyboard.press("Escape")
        page.wait_for_selector(".error:text('key')")
        assert page.locator(".bubble").all_inner_texts() == ["One?"]


def test_the_server_goes_away_and_comes_back(
    roomy_model: Llava, open_page: Callable[..., "Page"]
) -> None:
    with serving_model(roomy_model.apart()) as served:
        page = open_page(served)
    send(page, "One?")
    page.wait_for_selector(".error:text-is('The server cannot be reached. Is it running?')")
    page.wait_for_selector("#banner:text('The server does not answer.')")
    Dictation(page)
    with serving_at(served.port, lambda path: roomy_model.apart(), roomy_model.path):
        page.wait_for_selector("#banner", state="hidden")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector("text=An answer.")


def test_an_answer_that_the_servers_end_cuts_off_is_marked(
    waits: HeldLlava, open_page: Callable[..., "Page"]
) -> None:
    with serving_model(waits) as served:
        page = open_page(served)
        send(page, "Tell me.")
        page.wait_for_selector(".words[aria-busy=true] :not(:empty)")
    page.wait_for_selector(".answer .error, .answer .note")
    assert page.locator(".words").inner_text()
