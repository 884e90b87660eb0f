"""A user's program with every documented call of the runtime; mypy reads it, nobody runs it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

import llava_edge
from llava_edge import (
    AsyncChat,
    AsyncLlava,
    AsyncStream,
    Chat,
    ImageEmbeddings,
    Llava,
    Message,
    Options,
    Picture,
    Piece,
    StoredModel,
    Stream,
    load,
    load_async,
)


def talk(folder: str, photo: Image.Image, words: dict[str, object]) -> str:
    model: Llava = load(folder, "cpu", context=2048, image_cache=0, gpu_memory=2**30)
    model = load(idle_trim=60, contexts=2, progress=lambda stage, done: print(stage, done))
    stored: tuple[StoredModel, ...] = llava_edge.models()
    names_here: list[str] = [one.name for one in stored if one.config.size < 2**30]
    model = load(names_here[0])
    names: list[str] = ["a.jpg", "b.jpg"]
    paths: list[Path] = [Path(name) for name in names]
    encoded: ImageEmbeddings = model.encode_image("a.jpg", image_tokens=64)
    kept: list[ImageEmbeddings] = [encoded, model.encode_image(photo)]
    text: str = model.answer("What is in the picture?", image="photo.jpg")
    text += model.answer("What is the difference? <image> <image>", names)
    text += model.answer("<image> or <image>?", paths)
    text += model.answer("<image> or <image>?", tuple(paths))
    text += model.answer("<image> or <image>?", kept)
    text += model.answer("<image> or <image>?", [photo, b"bytes", "a.jpg", Path("b.jpg"), encoded])
    stream: Stream = model.stream("Describe it.", photo, Options(max_tokens=40, timeout=10))
    for piece in stream:
        last: Piece = piece
        print(piece.text, end="", flush=True)
    stream.cancel()
    stream.close()
    print(last.finish, last.timings.tokens_per_second, [token.id for token in last.logprobs])
    chat: Chat = model.chat()
    chat.answer("What is this?", image=Path("photo.jpg"))
    for piece in chat.stream("And what colour is it?"):
        text += piece.text
    chat.save("chat.npz")
    chat = model.load_chat(Path("chat.npz"))
    chat.reset()
    chat.close()
    history: list[Message] = chat.messages
    history.append(Message("user", ["What? ", Picture(photo), Picture(io.BytesIO(b"bytes"))]))
    text += model.answer(history, Options(max_tokens=3))
    text += model.answer([Message("user", "Tell")])
    array = np.zeros((4, 5, 3), np.uint8)
    text += model.answer("Three:", [array, memoryview(b"bytes"), bytearray(b"bytes")])
    with model.apart() as twin, twin.chat() as beside, beside.stream("Tell") as pieces:
        stages: list[str] = [piece.stage for piece in pieces]
    print(stages, last.timings.encoded_pictures, last.timings.pictures)
    options = Options(
        temperature=1,
        top_p=0.9,
        top_k=40,
        seed=1,
        stop=("end", "."),
        logit_bias={3: -100},
        logprobs=2,
        when_full="shift",
        image_tokens=64,
    )
    for form in (Options(choices=("yes", "no")), Options(regex="[a-z]+"), Options(schema=words)):
        text += model.answer("Is there a dog?", photo, form)
    print(model.device.name, model.notes, model.config.name, model.path, chat.forgotten, {options})
    print(model.encode_image(photo).rows.shape, model.decoder.context, llava_edge.__version__)
    try:
        return text + stream.text()
    except llava_edge.PromptError as error:
        raise llava_edge.LlavaEdgeError("No answer.") from error


async def talk_in_a_loop(photo: Image.Image) -> str:
    async with await load_async("bundle", context=2048) as model:
        text: str = await model.answer("What?", photo, Options(max_tokens=3))
        stream: AsyncStream = model.stream([Message("user", "Tell")], Options(max_tokens=3))
        async with stream:
            async for piece in stream:
                last: Piece = piece
        stream.cancel()
        chat: AsyncChat = model.chat(system="Be brief.")
        text += await chat.answer("What?", [photo]) + last.text
        await chat.save("talk.npz")
        chat = await model.load_chat("talk.npz")
        await chat.aclose()
        rows: ImageEmbeddings = await model.encode_image(photo)
        return text + await AsyncLlava(model.sync).apart().answer("What?", rows)
