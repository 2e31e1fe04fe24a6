"""RFC 6120: streams between clients, servers and the router; knows no table and no use case."""
