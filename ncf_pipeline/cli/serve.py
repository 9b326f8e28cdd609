"""`serve`: the lists over HTTP, for storefronts that may not open Redis."""

import logging
import signal
import sys
from typing import Annotated

import typer

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(serve)


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on. 0 takes any free port.", min=0, max=65535)] = 8091,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others reach it only if it is one of this machine's own.")
    ] = "127.0.0.1",
    without_keys: Annotated[
        bool,
        typer.Option(
            "--without-keys", help="Let anybody on this machine read and write. Only on 127.0.0.1, for trying it out."
        ),
    ] = False,
    log_requests: Annotated[
        bool,
        typer.Option(
            "--log-requests/--no-log-requests",
            help="Log a line for each request. It names neither customer nor product.",
        ),
    ] = True,
) -> None:
    """Serve the lists as JSON over HTTP, for storefronts that may not open Redis, until it is stopped.

    Keys are in NCF_API_KEYS, or in the file that NCF_API_KEYS_FILE names: reader=KEY for those who read lists,
    writer=KEY for those who also hide products and store dismissals. Several of each are valid at once, and the file is
    read again when it changes, so a key can be replaced without a gap. /openapi.json describes what may be asked;
    docs/storefront.md has examples. Traffic is not encrypted: put a proxy with TLS in front.
    """
    from ncf_pipeline.api.app import LOOPBACK, create_app
    from ncf_pipeline.api.keys import RenewedKeys
    from ncf_pipeline.api.server import server_of
    from ncf_pipeline.local.ports import listening

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    settings = load_settings()
    keys = RenewedKeys(settings)
    if without_keys and host not in LOOPBACK:
        raise SettingsError(f"--without-keys is only for 127.0.0.1: others could reach {host} and hide products.")
    if not keys() and not without_keys:
        raise SettingsError(
            "The API has no keys. Set NCF_API_KEYS to reader=KEY writer=KEY, or NCF_API_KEYS_FILE to a file with them; "
            "`openssl rand -hex 32` makes a KEY. To try it on this machine alone: --without-keys."
        )
    # Where only Redis is named, lists are read and nothing else is started.
    with serving(settings, database=settings.redis_url is None) as settings:
        app = create_app(settings, None if without_keys else keys, log_requests=log_requests)
        with listening(host, port, "The API") as listener:
            logger = logging.getLogger(__name__)
            logger.info("The API is at http://%s:%d", host, listener.getsockname()[1])
            # After its last answer the server raises the signal again: that must not cut short what follows.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)
            server_of(app).run(sockets=[listener])
            logger.info("The API has stopped.")
