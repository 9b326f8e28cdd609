"""The API on a port of its own, over lists that are published with a mark: see `tests/support/published.py`."""

from contextlib import ExitStack

import httpx
import pytest
from published import keys, publish, store, without_grace  # noqa: F401
from web_api import READER, WRITER
from web_server import serving


@pytest.fixture
def served():
    """Serves an API with some settings, keys and options; gives its application and its address."""
    from ncf_pipeline.api.app import create_app
    from ncf_pipeline.api.keys import keys_in
    from ncf_pipeline.api.server import server_of

    with ExitStack() as stack:

        def serve(settings, keys=f"reader:web={READER} writer:desk={WRITER}", **options):
            valid = keys_in(keys) if keys else []
            app = create_app(settings, (lambda: valid) if keys else None, **options)
            return app, stack.enter_context(serving(app, server_of(app)))

        yield serve


@pytest.fixture
def asks(served):
    """Makes clients of an API: for a reader, unless another key is given; None sends no key."""
    with ExitStack() as stack:

        def client(settings, key=READER, **options):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            _, address = served(settings, **options)
            return stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30))

        yield client
