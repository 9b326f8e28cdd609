"""Postgres, files in the artifact store, and the files that come with the package."""
