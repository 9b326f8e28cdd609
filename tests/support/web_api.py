"""The keys that tests of the API show."""

READER, WRITER = "reader-key-0123456789", "writer-key-0123456789"
