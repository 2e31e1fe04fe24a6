"""Alembic's view of the store: one file a change of the tables, written by hand."""
