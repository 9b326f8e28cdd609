"""`storefront`: a demo of a shop that reads the lists."""

import socket
from typing import Annotated

import typer
from rich.console import Console

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(storefront)


def storefront(
    port: Annotated[int, typer.Option(help="0 for any that is free.", min=0, max=65535)] = 8090,
    host: Annotated[
        str, typer.Option(help="Who may open it. It shows customers' purchases, to everybody who can.")
    ] = "127.0.0.1",
) -> None:
    """Show the lists in a small demo shop, until it is stopped with Ctrl+C."""
    try:
        import uvicorn

        from ncf_pipeline.pages.demo_shop.app import create_app
    except ImportError as error:
        raise SettingsError(
            f"{error.name} is not installed: `pip install 'ncf-pipeline[storefront,pipeline]'`."
        ) from error

    with serving(load_settings()) as settings:
        config = uvicorn.Config(create_app(settings), log_level="warning", access_log=False)
        with _listening(host, port) as listener:
            # A name that resolves to IPv6 is not asked for: one address, one socket.
            opened = listener.getsockname()[1]
            Console(highlight=False, soft_wrap=True).print(
                f"The demo shop is at http://{host}:{opened} (Ctrl+C ends it)"
            )
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingsError(f"{host}:{port} cannot be listened on: {error.strerror}. Choose another --port.") from error
