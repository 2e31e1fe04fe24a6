"""Microblog: a federated microblogging server that speaks XMPP."""

__version__ = "0.1.0"
