"""A Jupyter server extension: nothing holds a widget's new picture back on its way to the browser.

Two things hold it back otherwise. Jupyter's server leaves Nagle's algorithm on, which waits until
the browser has acknowledged the message before, and the browser's machine delays that by 40 ms. And
for every move of a slider the kernel says "busy" first, whereupon JupyterLab redraws toolbar,
status bar and tab while the picture waits.

jupyter_server_config.json, beside this file, switches the extension on from any
`jupyter_server_config.d` folder of Jupyter's settings. Without it widgets work, only later.
"""

import asyncio
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

WORTH_SAYING_S = 0.2
"""How long a widget has to keep the kernel busy before the browser is told."""


class PromptConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to a kernel, which says "busy" only of widgets that answer late."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.held: dict[str, asyncio.TimerHandle] = {}  # by the id of the widget's message

    def connect(self) -> Any:
        self.websocket_handler.set_nodelay(True)
        return super().connect()

    def disconnect(self) -> Any:
        while self.held:
            self.held.popitem()[1].cancel()
        return super().disconnect()

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        """Pass a message of the kernel's on; "busy" waits, and is not said if "idle" comes soon."""
        state, message = self.state_of_widget(outgoing_msg)
        if state == "busy":
            loop = asyncio.get_running_loop()
            self.held[message] = loop.call_later(
                WORTH_SAYING_S, self.say_after_all, message, stream, outgoing_msg
            )
            return
        if state == "idle" and message in self.held:
            self.held.pop(message).cancel()
        super().handle_outgoing_message(stream, outgoing_msg)

    def say_after_all(self, message: str, stream: Any, outgoing_msg: list[Any]) -> None:
        del self.held[message]
        super().handle_outgoing_message(stream, outgoing_msg)

    def state_of_widget(self, outgoing_msg: list[Any]) -> tuple[str, str]:
        """("busy" or "idle", id of the widget's message that it is about); else two empty texts."""
        topic = bytes(outgoing_msg[0])
        if not topic.endswith(b".status"):
            return "", ""
        _, (_, _, parent, _, content, *_) = self.session.feed_identities(outgoing_msg)
        parent = self.session.unpack(parent)
        if parent.get("msg_type") != "comm_msg":
            return "", ""
        return self.session.unpack(content)["execution_state"], parent["msg_id"]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "cvcourse.widgets.server"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by jupyter_server when it starts. A connection class that somebody else has chosen
    stays."""
    settings = server.web_app.settings
    if settings["kernel_websocket_connection_class"] is ZMQChannelsWebsocketConnection:
        settings["kernel_websocket_connection_class"] = PromptConnection
