"""The rules of `expectations/`, asked with Great Expectations."""
