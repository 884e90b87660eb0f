"""The routes that answer: /v1/chat/completions, and other APIs' paths for the same."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llava_edge.serve.answer_desk import AnswerDesk
from llava_edge.serve.client_gone import while_connected
from llava_edge.serve.model_host import ModelHost
from llava_edge.serve.question import Question
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


class AnswerRoutes:
    """What the routes of all APIs share."""

    def __init__(self, host: ModelHost, desk: AnswerDesk, settings: ServeSettings) -> None:
        self._host = host
        self._desk = desk
        self._settings = settings

    def route(self, read: Callable[[bytes], Question]) -> "AnswerRoute":
        """The route of one API, which reads a request's body with `read`."""
        return AnswerRoute(read, self)

    async def answer(self, read: Callable[[bytes], Question], wire: Wire) -> None:
        """Answer a request, for as long as its client is there."""
        served = self._host.model(wire.scope["state"].get("key", ""))
        question = read(await Request(wire.scope, wire.receive).body())
        try:
            await while_connected(wire.receive, self._answer(served, question, wire))
        except ClientDisconnect as error:
            note_result(wire.scope, error)
        except Exception as error:
            raise question.refusal(error) from error

    async def _answer(self, served: ServedModel, question: Question, wire: Wire) -> None:
        model, settings, asked = served.model, self._settings, question.asked
        if question.nothing is not None and not asked.messages:
            await Response(question.nothing(served), media_type="application/json")(*wire)
            return
        options = options_of(asked, settings.max_tokens or model.decoder.context)
        system_place = model.config.prompt.system_prefix is not None
        messages = messages_of(asked.messages, question.places, system_place=system_place)
        read = partial(read_pictures, limits=settings.pictures, remote=settings.remote)
        messages = await with_pictures(messages, read)
        async with self._desk.answer(model, messages, options) as answer:
            if question.stream:
                await self._stream(answer, served, question, wire)
            else:
                await self._whole(answer, served, question, wire)

    async def _stream(
        self, answer: RunningAnswer, served: ServedModel, question: Question, wire: Wire
    ) -> None:
        teller = question.events(served)
        reply = ReplyStream(wire.send, teller.media_type, self._settings.send_seconds)
        note_result(
            wire.scope, await tell_answer(answer, teller, reply, self._settings.ping_seconds)
        )

    async def _whole(
        self, answer: RunningAnswer, served: ServedModel, question: Question, wire: Wire
    ) -> None:
        pieces = [await answer.piece()]
        while not pieces[-1].finish:
            pieces.append(await answer.piece())
        note_result(wire.scope, pieces[-1])
        body = question.whole(served, pieces)
        await Response(body, media_type="application/json")(*wire)


class AnswerRoute:
    """One of them as an ASGI app; what goes wrong before the reply has begun is raised."""

    def __init__(self, read: Callable[[bytes], Question], routes: AnswerRoutes) -> None:
        self._read = read
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await self._routes.answer(self._read, Wire(scope, receive, send))
