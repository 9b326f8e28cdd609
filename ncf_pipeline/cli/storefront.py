"""`storefront`: a demo shop that shows the lists."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[\da-f:.]+\]", re.IGNORECASE | re.ASCII)


def host_names(names: Sequence[str] | None) -> list[str]:
    """Returns the names under which browsers may open the shop.

    Raises:
        typer.BadParameter: one of them can be no name of a host.
    """
    for name in names or ():
        if not _HOST.fullmatch(name):
            raise typer.BadParameter(
                f"{name!r} is no host name. Give a name or an address, without http:// and without a port."
            )
    return list(names or ())


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(storefront)


def storefront(
    port: Annotated[int, typer.Option(help="Port to listen on. 0 takes any free port.", min=0, max=65535)] = 8090,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Everybody who can reach it sees the customers' purchases.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address under which browsers may open it, besides localhost and --host. Repeatable.",
            callback=host_names,
        ),
    ] = None,
) -> None:
    """Show the lists in a small demo shop, until you press Ctrl+C."""
    import uvicorn

    from ncf_pipeline.local.ports import listening
    from ncf_pipeline.pages.demo_shop.app import LOCAL, create_app

    with serving(load_settings()) as settings:
        app = create_app(settings, hosts=[*LOCAL, host, *(allow_host or [])])
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        with listening(host, port, "The demo shop") as listener:
            bound = listener.getsockname()[1]
            Console(highlight=False, soft_wrap=True).print(
                f"The demo shop is at http://{host}:{bound} (Ctrl+C stops it)"
            )
            uvicorn.Server(config).run(sockets=[listener])
