"""RFC 6121 §4.7.2.1: what a presence says of somebody."""

from microblog.model.when import Show, show_of
from microblog.wire import ns
from microblog.wire.stanza import Stanza


def show_of_presence(presence: Stanza) -> Show:
    """The show of a presence that is available."""
    return show_of(presence.element.child_text(ns.CLIENT, "show") or "")
