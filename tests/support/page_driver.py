"""What a user does on the page, and a model that says what a test wants to see."""

import base64
import io
from collections import deque
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import ElementHandle, JSHandle, Locator, Page, Route

COMPLETE = "article.answer:last-child .actions"
TRANSFER = """files => {
    const transfer = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
}"""


class Dictation:
    """Adds to the page's questions what holds the real model's answers to given words.

    `words` are said one after the other, then "An answer."; `asked` are the bodies as sent.
    """

    def __init__(self, page: "Page") -> None:
        self.words = deque[str]()
        self.asked: list[dict[str, Any]] = []
        page.context.route("**/v1/chat/completions", self._pass_on)

    def _pass_on(self, route: "Route") -> None:
        body = route.request.post_data_json
        self.asked.append(body)
        words = self.words.popleft() if self.words else "An answer."
        route.continue_(post_data={**body, "structured_outputs": {"choice": [words]}})


def picture(name: str = "scene.png", size: tuple[int, int] = (40, 30)) -> dict[str, Any]:
    """A file as Playwright takes it."""
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(file, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": file.getvalue()}


def send(page: "Page", words: str) -> None:
    page.get_by_role("textbox", name="Question").fill(words)
    page.get_by_role("button", name="Send", exact=True).click()


def ask(page: "Page", words: str) -> str:
    """The complete answer as it is shown."""
    send(page, words)
    return answer(page)


def answer(page: "Page") -> str:
    page.wait_for_selector(COMPLETE)
    return page.locator("article.answer .words").last.inner_text()


def choose(page: "Page", *files: dict[str, Any]) -> None:
    page.set_input_files("#picture-files", list(files))
    page.wait_for_selector("#pending[aria-busy=false]")


def drop(page: "Page", *files: dict[str, Any]) -> None:
    page.dispatch_event("main", "drop", {"dataTransfer": transfer(page, files)})


def transfer(page: "Page", files: tuple[dict[str, Any], ...]) -> "JSHandle | ElementHandle":
    """What a drop or a paste of these files carries."""
    coded = [
        (file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode())
        for file in files
    ]
    return page.evaluate_handle(TRANSFER, coded)


def wait_for_property(page: "Page", selector: str, name: str, value: object) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector).first).to_have_js_property(name, value)


def conversations(page: "Page") -> "Locator":
    return page.get_by_role("navigation", name="Conversations").locator("button.open")


def sent_pictures(body: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a request's last message."""
    parts = body["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
