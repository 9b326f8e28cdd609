"""Functions of Redis that read lists in one command, for storefronts without the Python client: `functions.lua`.

Redis has functions from 7.0 on. It keeps them with its data, and gives them to its replicas. In a Redis Cluster a
function cannot read keys of several nodes, so there they are not loaded.
"""

import logging
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoPermissionError, ResponseError

from ncf_pipeline.serving.publication.store import Store, connected
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

LIBRARY = "ncf"
_CODE = Path(__file__).with_name("functions.lua").read_text(encoding="utf-8")


def load_functions(settings: Settings) -> bool:
    """Gives Redis the functions, if it can have them and has not. Lists can be read without them.

    Returns:
        Whether they are there.

    Raises:
        ListStoreError: Redis cannot be reached.
    """
    with connected(settings, "its functions were not loaded", so="Lists can be read without them.") as store:
        return load_into(store)


def load_into(store: Store) -> bool:
    """The same for a store that is connected."""
    if isinstance(store.client, redis.RedisCluster):
        return False
    try:
        if not _is_there(store):
            store.client.function_load(_CODE, replace=True)
            logger.info("The functions ncf_lists and ncf_basket were loaded into Redis.")
    except NoPermissionError:
        logger.info("The user of Redis may not load functions, so storefronts read lists without them.")
        return False
    except ResponseError as error:
        if not str(error).lower().startswith("unknown command"):  # Redis before 7.0 has none
            why = str(error).rstrip(".")
            logger.warning("Functions were not loaded into Redis: %s. Storefronts read lists without them.", why)
        return False
    return True


def _is_there(store: Store) -> bool:
    try:
        libraries: Any = store.client.function_list(LIBRARY, withcode=True)
    except NoPermissionError:  # who may load them need not be allowed to look
        return False
    return any(_CODE.encode() in (each.values() if isinstance(each, dict) else each) for each in libraries)
