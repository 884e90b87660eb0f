"""Pictures on their way in: dropped, pasted, chosen, photographed; made small and plain."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from page_driver import (
    Dictation,
    answer,
    ask,
    choose,
    drop,
    picture,
    send,
    sent_pictures,
    transfer,
    wait_for_property,
)
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASTE = """clipboardData =>
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }))"""
COPY_PICTURE = """async () => {
    const canvas = new OffscreenCanvas(24, 18);
    canvas.getContext("2d").fillRect(0, 0, 24, 18);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}"""


def photo_on_its_side() -> dict[str, Any]:
    """A photo as phones write it: lying, with a note how to turn it and where it was taken."""
    pixels = np.zeros((1500, 3000, 3), np.uint8)
    pixels[:, :1500] = (250, 0, 0)  # what is red here is on top once the photo is upright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif, comment=b"secret")
    assert b"Exif" in file.getvalue()
    return {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def test_photos_are_upright_small_and_without_metadata(says: Dictation, page: "Page") -> None:
    choose(page, photo_on_its_side())
    ask(page, "What is it?")
    (sent,) = sent_pictures(says.asked[0])
    assert sent.size == (768, 1536)
    assert not sent.getexif() and "comment" not in sent.info
    pixels = np.asarray(sent)
    assert pixels[100, 300, 0] > 200 > 50 > pixels[1400, 300, 0]


def test_small_pictures_keep_their_size_and_what_is_transparent_becomes_white(
    says: Dictation, page: "Page"
) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (31, 17), (0, 0, 0, 0)).save(file, "PNG")
    choose(page, {"name": "clear.png", "mimeType": "image/png", "buffer": file.getvalue()})
    ask(page, "What is it?")
    (sent,) = sent_pictures(says.asked[0])
    assert sent.size == (31, 17)
    assert np.asarray(sent).min() > 250


def test_pictures_are_pasted(says: Dictation, page: "Page") -> None:
    page.evaluate(COPY_PICTURE)
    page.get_by_role("textbox", name="Question").focus()
    page.keyboard.press("Control+v")
    page.wait_for_selector("#pending img")
    ask(page, "What is it?")
    assert [sent.size for sent in sent_pictures(says.asked[0])] == [(24, 18)]


def test_words_with_a_picture_of_themselves_are_pasted_as_words(page: "Page") -> None:
    """As spreadsheets copy their cells."""
    carried = transfer(page, (picture(),))
    carried.evaluate("carried => carried.setData('text/plain', 'cells')")
    page.evaluate(PASTE, carried)
    assert page.locator("#pending li").count() == 0


def test_several_pictures_stay_in_order_and_can_be_removed(says: Dictation, page: "Page") -> None:
    drop(page, picture("one.png", (10, 10)), picture("two.png", (20, 20)))
    page.wait_for_selector("#pending img >> nth=1")
    first = page.locator("#pending img").first.element_handle()
    page.get_by_role("textbox", name="Question").press_sequentially("What")
    assert first.evaluate("image => image.isConnected")  # not drawn anew for each key
    choose(page, picture("three.png", (30, 30)))
    page.get_by_role("button", name="Remove two.png").click()
    ask(page, "What are they?")
    assert [sent.width for sent in sent_pictures(says.asked[0])] == [10, 30]


def test_a_picture_alone_is_a_question(says: Dictation, page: "Page") -> None:
    choose(page, picture())
    ask(page, "")
    (message,) = says.asked[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url"]


def test_the_camera_takes_a_photo(says: Dictation, page: "Page") -> None:
    page.get_by_role("button", name="Take a photo").first.click()
    wait_for_property(page, "video", "readyState", 4)  # it has pictures
    page.get_by_role("button", name="Take the photo").click()
    page.wait_for_selector("#pending img")
    assert page.evaluate("document.querySelector('video').srcObject") is None
    ask(page, "What is it?")
    (sent,) = sent_pictures(says.asked[0])
    assert np.ptp(np.asarray(sent)) > 100  # the browser's test pattern


@pytest.mark.parametrize("name", ["notes.txt", "broken.jpg"])
def test_what_is_no_picture_is_named(page: "Page", name: str) -> None:
    drop(page, {"name": name, "mimeType": "image/jpeg", "buffer": b"words"}, picture())
    page.wait_for_selector(f"text={name} is no picture that this browser can read.")
    page.wait_for_selector("#pending[aria-busy=false]")
    assert page.locator("#pending img").count() == 1


def test_dropped_words_do_not_leave_the_page(page: "Page") -> None:
    carried = page.evaluate_handle("() => new DataTransfer()")
    carried.evaluate("carried => carried.setData('text/uri-list', 'https://example.org/a.png')")
    page.dispatch_event("main", "drop", {"dataTransfer": carried})
    page.wait_for_selector("text=Only files of pictures can be dropped here.")


def test_pictures_are_enlarged_and_the_keyboard_goes_through_them(
    says: Dictation, page: "Page"
) -> None:
    choose(page, picture("one.png", (10, 10)), picture("two.png", (20, 20)))
    ask(page, "What are they?")
    opener = page.get_by_role("button", name="Enlarge one.png")
    opener.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("figcaption:text-is('1 of 2 · one.png · 10 by 10')")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("figcaption:text-is('2 of 2 · two.png · 20 by 20')")
    wait_for_property(page, "#lightbox img", "naturalWidth", 20)
    for _ in range(6):  # the focus goes round within
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || lightbox.contains(activeElement)"
        assert page.evaluate(inside.replace("(activeElement", "(document.activeElement"))
    page.keyboard.press("Escape")
    page.wait_for_selector("#lightbox", state="hidden")
    assert opener.evaluate("button => button === document.activeElement")


def test_a_question_waits_for_its_pictures(says: Dictation, page: "Page") -> None:
    """Sent at once after the drop, it still has the picture."""
    drop(page, picture("large.png", (3000, 2000)))
    send(page, "What is it?")
    answer(page)
    (sent,) = sent_pictures(says.asked[0])
    assert sent.size == (1536, 1024)
