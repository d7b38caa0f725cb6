"""A Jupyter server extension of one line: answers of the kernel leave at once.

Jupyter's server leaves Nagle's algorithm on. It then holds a widget's new picture back until the browser has
acknowledged the message before it (the kernel's "busy"), and the browser's machine delays that by 40 ms.

jupyter_server_config.json, beside this file, switches the extension on from any `jupyter_server_config.d` folder of
Jupyter's settings. Without it widgets work, with about 40 ms more from a slider's move to the new picture.
"""

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "cvcourse.widgets.server"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by jupyter_server when it starts: every channel to a kernel opens without delay."""
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    opened = KernelWebsocketHandler.open

    async def open_without_delay(self: Any, kernel_id: str) -> None:
        self.set_nodelay(True)
        await opened(self, kernel_id)

    KernelWebsocketHandler.open = open_without_delay
