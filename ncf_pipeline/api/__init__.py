"""The lists over HTTP, for shops whose storefront may not open Redis: `ncf-pipeline serve`."""
