"""Who can use the page: axe's rules, the keyboard alone, screen readers, a phone."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from page_driver import Dictation, answer, ask, choose, conversations, picture, send
from serving import HeldLlava, Served, serving_model

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
WIDE_ANSWER = (
    "A list:\n\n- `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\n" + "x" * 200 + "\n```"
)


def faults(page: "Page") -> list[str]:
    """What axe finds, with where."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install '.[browser]'"
    )
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("waits", [3], indirect=True)  # both pictures are encoded, then reading
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(waits: HeldLlava, open_page: Callable[..., "Page"], scheme: str) -> None:
    with serving_model(waits) as served:
        page = open_page(served, color_scheme=scheme, reduced_motion="reduce")
        says = Dictation(page)
        assert faults(page) == []
        choose(page, picture(), picture("other.png"))
        assert faults(page) == []
        says.words.append(WIDE_ANSWER)
        send(page, "What are they?")
        page.wait_for_selector("progress")
        assert faults(page) == []
        waits.release.set()
        answer(page)
        assert faults(page) == []
        send(page, "word " * 5000)  # more than the context holds
        page.wait_for_selector(".error")
        page.get_by_role("button", name="Edit the question").last.click()
        assert faults(page) == []
        for button, dialog in (
            ("Options", "#options"),
            ("Keyboard shortcuts", "#shortcuts"),
            ("Enlarge scene.png", "#lightbox"),
        ):
            page.get_by_role("button", name=button).first.click()
            page.wait_for_selector(dialog)
            assert faults(page) == []
            page.keyboard.press("Escape")


def test_the_keyboard_alone_is_enough(waits: HeldLlava, waiting_page: "Page") -> None:
    """From an empty page over a question with a picture to a conversation that is found again."""
    page = waiting_page
    says = Dictation(page)
    says.words.extend(["Red, I am sure of it.", "Red.", "It is blue."])
    page.wait_for_function("document.hasFocus() && document.activeElement.id === 'words'")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Control+u")
    chooser.value.set_files([picture()])
    page.wait_for_selector("#pending img")
    page.keyboard.type("What colour?")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("One word.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".words[aria-busy=true] p")
    assert page.locator(".bubble").inner_text() == "What colour?\nOne word."
    page.keyboard.press("Escape")
    page.wait_for_selector("text=Stopped.")
    waits.release.set()
    page.keyboard.type("More?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".words >> text=/^Red.$/")
    page.wait_for_selector("#stop", state="hidden")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("text=Editing a question")
    page.keyboard.press("Escape")
    page.wait_for_selector("#editing", state="hidden")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+a")
    page.keyboard.type("Other?")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=It is blue.")
    page.keyboard.press("Control+/")
    page.wait_for_selector("#shortcuts[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#stop", state="hidden")
    page.keyboard.press("Control+Shift+O")
    page.wait_for_selector("#welcome")
    page.keyboard.press("Control+k")
    page.keyboard.type("blue")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=It is blue.")


def test_every_control_is_reached_and_has_a_name(says: Dictation, page: "Page") -> None:
    choose(page, picture())
    ask(page, "What is it?")
    names = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        names.add(
            page.evaluate(
                """() => {
                    const { ariaLabel, textContent, localName } = document.activeElement;
                    return localName === "body" ? "body" : ariaLabel || textContent.trim() || null;
                }"""
            )
        )
    assert None not in names
    assert names >= {
        *("Skip to the question", "New conversation", "Search conversations", "What is it?"),
        *("Rename What is it?", "Delete What is it?", "Export", "Import", "Theme: system"),
        *("Options", "Keyboard shortcuts", "Enlarge scene.png", "Copy the question"),
        *("Edit the question", "Copy the answer", "Answer again", "Question", "Add pictures"),
        *("Take a photo",),
    }


def test_screen_readers_hear_states_and_whole_answers(says: Dictation, page: "Page") -> None:
    page.evaluate(
        """() => {
            window.heard = [];
            const status = document.getElementById("status");
            const hear = () => heard.push(status.textContent);
            new MutationObserver(hear).observe(status, { childList: true });
        }"""
    )
    says.words.append("It is a taxi.")
    ask(page, "What is it?")
    page.wait_for_selector("#status:text-is('Answer: It is a taxi.')", state="attached")
    assert page.evaluate("heard") == ["Waiting for the answer", "Answer: It is a taxi."]
    tree = page.locator("#transcript").aria_snapshot()
    assert '- heading "Question"' in tree and '- heading "Answer"' in tree


def test_the_theme_follows_the_system_until_it_is_chosen(
    server: Served, open_page: Callable[..., "Page"]
) -> None:
    page = open_page(server, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.wait_for_selector("#theme[aria-label='Theme: light']")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_scrolls_only_down(
    server: Served, open_page: Callable[..., "Page"], width: int
) -> None:
    page = open_page(server, **PHONE | {"viewport": {"width": width, "height": 640}})
    too_wide = f"Math.max(document.documentElement.scrollWidth, scroller.scrollWidth) - {width}"
    assert page.evaluate(too_wide) <= 0
    listed = json.loads(server.get("/v1/models"))
    listed["data"][0]["id"] = "a-model-whose-name-is-longer-than-the-screen-of-a-phone-is-wide"
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    says = Dictation(page)
    says.words.append(WIDE_ANSWER)
    page.reload()
    page.wait_for_selector("#model:text('a-model')")
    choose(page, *(picture(f"{number}.png", (900, 300)) for number in range(7)))
    assert page.evaluate(too_wide) <= 0
    send(page, "w" * 300)
    answer(page)
    assert page.evaluate(too_wide) <= 0
    assert page.get_by_role("button", name="New conversation").count() == 0  # inert
    page.get_by_role("button", name="Conversations", exact=True).click()
    assert page.evaluate("document.activeElement.id") == "close-sidebar"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "open-sidebar"
    page.get_by_role("button", name="Conversations", exact=True).click()
    conversations(page).click()
    page.wait_for_selector("#sidebar", state="hidden")
    page.get_by_role("button", name="Options").click()
    page.wait_for_selector("#options")
    assert page.evaluate(too_wide) <= 0


def test_a_touch_keyboard_enters_new_lines(
    server: Served, open_page: Callable[..., "Page"]
) -> None:
    page = open_page(server, **PHONE)
    Dictation(page)
    page.get_by_role("textbox", name="Question").focus()
    page.keyboard.type("One")
    page.keyboard.press("Enter")
    page.keyboard.type("Two")
    page.get_by_role("button", name="Send", exact=True).tap()
    answer(page)
    assert page.locator(".bubble").inner_text() == "One\nTwo"


@pytest.mark.parametrize("waits", [1], indirect=True)  # reading has begun
def test_without_motion_nothing_moves(waits: HeldLlava, open_page: Callable[..., "Page"]) -> None:
    with serving_model(waits) as served:
        page = open_page(served, reduced_motion="reduce")
        send(page, "One?")
        page.wait_for_selector("progress")
        assert page.evaluate("document.getAnimations().length") == 0
