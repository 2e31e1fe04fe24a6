"""How twistd finds us. This folder has no __init__.py: that file is Twisted's own."""

from twisted.application.service import ServiceMaker

microblog = ServiceMaker(
    "Microblog",
    "microblog.plugin",
    "A federated microblogging server that speaks XMPP.",
    "microblog",
)
