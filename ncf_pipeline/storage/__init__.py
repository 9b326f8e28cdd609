"""Postgres, files in the artifact store, and the resources that come with the package."""
