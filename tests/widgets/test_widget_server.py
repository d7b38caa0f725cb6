"""The server's side of a widget: "busy" is withheld while answers are quick, said when they are
slow."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.session import Session
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

from cvcourse.widgets import server
from cvcourse.widgets.server import PromptConnection

SOON = 0.02


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the browser, in order."""
    said: list[str] = []

    def record(self: Any, stream: Any, outgoing_msg: list[Any]) -> None:
        _, (_, header, _, _, content, *_) = self.session.feed_identities(outgoing_msg)
        content = self.session.unpack(content)
        said.append(content.get("execution_state", self.session.unpack(header)["msg_type"]))

    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "handle_outgoing_message", record)
    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "disconnect", lambda self: None)
    monkeypatch.setattr(server, "WORTH_SAYING_S", SOON)
    return said


@pytest.fixture
def connection() -> PromptConnection:
    made = PromptConnection.__new__(
        PromptConnection
    )  # a whole one needs a server and a kernel: tests/browser has both
    made.held = {}
    made.session = Session(key=b"secret")
    return made


def message(
    connection: PromptConnection, kind: str, parent: tuple[str, str], **content: Any
) -> list[bytes]:
    """A message of the kernel's as it comes out of its socket. parent: (type, id) of what it
    answers."""
    session = connection.session
    whole = session.msg(kind, content, parent={"msg_type": parent[0], "msg_id": parent[1]})
    return session.serialize(whole, ident=f"kernel.1.{kind}".encode())


def play(connection: PromptConnection, *steps: list[bytes] | float) -> None:
    """Hand messages over, with pauses in seconds between them."""

    async def run() -> None:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                connection.handle_outgoing_message("iopub", step)

    asyncio.run(run())


def of(
    connection: PromptConnection, parent: tuple[str, str]
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The three messages with which a kernel answers: busy, one with content, idle."""
    states = [
        message(connection, "status", parent, execution_state=state) for state in ("busy", "idle")
    ]
    return states[0], message(connection, "comm_msg", parent, data={}), states[1]


def test_a_quick_answer_is_not_preceded_by_busy(
    connection: PromptConnection, passed: list[str]
) -> None:
    busy, picture, idle = of(connection, ("comm_msg", "a"))
    play(connection, busy, picture, idle, 3 * SOON)
    assert passed == ["comm_msg", "idle"]
    assert connection.held == {}


def test_a_slow_answer_is(connection: PromptConnection, passed: list[str]) -> None:
    busy, picture, idle = of(connection, ("comm_msg", "a"))
    play(connection, busy, 3 * SOON, picture, idle)
    assert passed == ["busy", "comm_msg", "idle"]
    assert connection.held == {}


def test_two_moves_are_told_apart(connection: PromptConnection, passed: list[str]) -> None:
    busy, picture, idle = of(connection, ("comm_msg", "a"))
    second, *_ = of(connection, ("comm_msg", "b"))
    play(connection, busy, picture, idle, second, 3 * SOON)
    assert passed == ["comm_msg", "idle", "busy"]


@pytest.mark.parametrize("kind", ["execute_request", "kernel_info_request", "comm_open"])
def test_everything_else_passes_at_once(
    connection: PromptConnection, passed: list[str], kind: str
) -> None:
    play(connection, *of(connection, (kind, "a")))
    assert passed == ["busy", "comm_msg", "idle"]


def test_nothing_is_said_to_a_browser_that_has_gone(
    connection: PromptConnection, passed: list[str]
) -> None:
    async def leave() -> None:
        connection.handle_outgoing_message("iopub", of(connection, ("comm_msg", "a"))[0])
        connection.disconnect()
        await asyncio.sleep(3 * SOON)

    asyncio.run(leave())
    assert passed == []


def test_it_takes_the_place_of_the_ordinary_connection_only() -> None:
    def chosen(by_somebody: type) -> type:
        settings = {"kernel_websocket_connection_class": by_somebody}
        server._load_jupyter_server_extension(
            SimpleNamespace(web_app=SimpleNamespace(settings=settings))
        )
        return settings["kernel_websocket_connection_class"]

    class Gateway: ...

    assert chosen(ZMQChannelsWebsocketConnection) is PromptConnection
    assert chosen(Gateway) is Gateway
