`search` finds what was written, as far as one may read it: words, "words in a row", tags, authors, domains, languages and places; the same on SQLite (FTS5) and PostgreSQL.
