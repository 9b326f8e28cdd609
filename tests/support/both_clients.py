"""The sync and the async client as one."""

import asyncio

from ncf_pipeline.storefront import AsyncStorefront, Storefront


class Both:
    """The sync and the async client: both get the same question, and must return the same answer."""

    def __init__(self, *arguments, **options):
        self._sync = Storefront(*arguments, **options)
        self._arguments, self._options = arguments, options
        self._runner = asyncio.Runner()
        self._async = None

    def __getattr__(self, name):
        def ask(*arguments, **options):
            answer = getattr(self._sync, name)(*arguments, **options)

            async def again():
                if self._async is None:
                    self._async = AsyncStorefront(*self._arguments, **self._options)
                return await getattr(self._async, name)(*arguments, **options)

            assert self._runner.run(again()) == answer
            return answer

        return ask

    @property
    def statistics(self):
        if self._async is not None:
            assert self._async.statistics == self._sync.statistics
        return self._sync.statistics

    def forget(self):
        """As if a second had passed."""
        self._sync._held = None
        if self._async is not None:
            self._async._held = None

    def end(self):
        self._sync.close()
        if self._async is not None:
            self._runner.run(self._async.close())
        self._runner.close()
