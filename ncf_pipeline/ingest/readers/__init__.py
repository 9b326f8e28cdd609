"""Readers: each turns one kind of file into tables of text cells; `cells` gives the cells their types."""
