"""POST /v1/chat/completions."""

from functools import partial
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.client_gone import while_connected
from llava_edge.serve.completion_reply import CompletionEvents, CompletionReply
from llava_edge.serve.completion_request import CompletionRequest
from llava_edge.serve.json_body import decoded
from llava_edge.serve.model_host import ModelHost
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


class Completions:
    """The route as an ASGI app; what goes wrong before the reply has begun is raised."""

    def __init__(self, host: ModelHost, desk: AnswerDesk, settings: ServeSettings) -> None:
        self._host = host
        self._desk = desk
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, for as long as its client is there."""
        served = self._host.model(scope["state"].get("key", ""))
        asked = decoded(await Request(scope, receive).body(), CompletionRequest)
        try:
            await while_connected(receive, self._answer(served, asked, Wire(scope, receive, send)))
        except ClientDisconnect as error:
            note_result(scope, error)

    async def _answer(self, served: ServedModel, asked: CompletionRequest, wire: Wire) -> None:
        model, settings = served.model, self._settings
        options = options_of(asked, settings.max_tokens or model.decoder.context)
        system_place = model.config.prompt.system_prefix is not None
        messages = messages_of(asked.messages, system_place=system_place)
        read = partial(read_pictures, remote=settings.remote)
        messages = await with_pictures(messages, read)
        asked.messages.clear()  # base64 need not wait in the queue beside the pictures' bytes
        async with self._desk.answer(model, messages, options) as answer:
            if asked.stream:
                await self._stream(answer, CompletionEvents(served, asked), wire)
            else:
                await self._whole(answer, CompletionReply(served, asked), wire)

    async def _stream(self, answer: RunningAnswer, events: CompletionEvents, wire: Wire) -> None:
        reply = ReplyStream(wire.send, events.media_type, self._settings.send_seconds)
        result = await tell_answer(answer, events, reply, self._settings.ping_seconds)
        note_result(wire.scope, result)

    async def _whole(self, answer: RunningAnswer, reply: CompletionReply, wire: Wire) -> None:
        pieces = [await answer.piece()]
        while not pieces[-1].finish:
            pieces.append(await answer.piece())
        note_result(wire.scope, pieces[-1])
        await Response(reply.whole(pieces), media_type="application/json")(*wire)
