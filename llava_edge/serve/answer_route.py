"""The routes that answer: /v1/chat/completions, and other APIs' paths for the same."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.api_request import ApiRequest
from llava_edge.serve.client_gone import while_connected
from llava_edge.serve.model_pool import ModelPool
from llava_edge.serve.reply_stream import ReplyStream
from llava_edge.serve.request_log import note_result
from llava_edge.serve.running_answer import RunningAnswer
from llava_edge.serve.serve_settings import ServeSettings
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.tell_answer import tell_answer
from llava_edge.serve.wire_messages import messages_of, with_pictures
from llava_edge.serve.wire_options import options_of
from llava_edge.serve.wire_pictures import read_pictures


class Wire(NamedTuple):
    """What ASGI gives for a request."""

    scope: Scope
    receive: Receive
    send: Send


class AnswerRoute:
    """A route of one API as an ASGI app; `read` is how it reads a request's body.

    What goes wrong before the reply has begun is raised.
    """

    def __init__(
        self,
        models: ModelPool,
        desk: AnswerDesk,
        settings: ServeSettings,
        read: Callable[[bytes], ApiRequest],
    ) -> None:
        self._models = models
        self._desk = desk
        self._settings = settings
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, for as long as its client is there."""
        request = self._read(await Request(scope, receive).body())
        try:
            await while_connected(receive, self._answer(request, Wire(scope, receive, send)))
        except ClientDisconnect as error:
            note_result(scope, error)
        except Exception as error:
            raise request.refusal(error) from error

    async def _answer(self, request: ApiRequest, wire: Wire) -> None:
        key = wire.scope["state"].get("key", "")
        async with self._models.lend(request.asked.model, key) as served:
            await self._ask(served, request, wire)

    async def _ask(self, served: ServedModel, request: ApiRequest, wire: Wire) -> None:
        model, settings, asked = served.model, self._settings, request.asked
        if request.nothing is not None and not asked.messages:
            await Response(request.nothing(served), media_type="application/json")(*wire)
            return
        options = options_of(asked, settings.max_tokens or model.decoder.context)
        system_place = model.config.prompt.system_prefix is not None
        messages = messages_of(asked.messages, request.places, system_place=system_place)
        read = partial(read_pictures, remote=settings.remote)
        messages = await with_pictures(messages, read)
        asked.messages.clear()  # base64 need not wait in the queue beside the pictures' bytes
        async with self._desk.answer(model, messages, options) as answer:
            if request.stream:
                await self._stream(answer, served, request, wire)
            else:
                await self._whole(answer, served, request, wire)

    async def _stream(
        self, answer: RunningAnswer, served: ServedModel, request: ApiRequest, wire: Wire
    ) -> None:
        teller, settings = request.events(served), self._settings
        reply = ReplyStream(wire.send, teller.media_type, settings.send_seconds)
        note_result(wire.scope, await tell_answer(answer, teller, reply, settings.ping_seconds))

    async def _whole(
        self, answer: RunningAnswer, served: ServedModel, request: ApiRequest, wire: Wire
    ) -> None:
        pieces = [await answer.piece()]
        while not pieces[-1].finish:
            pieces.append(await answer.piece())
        note_result(wire.scope, pieces[-1])
        body = request.whole(served, pieces)
        await Response(body, media_type="application/json")(*wire)
