"""What nodes and items may be called: not nothing, and not more than a database can find again."""

from microblog.model.errors import BadRequest, ItemRequired, NodeIDRequired
from microblog.model.node import NODE_NAME_MAX_BYTES

ITEM_ID_MAX_BYTES = 1023


def check_node_name(name: str) -> None:
    """Raises NodeIDRequired, BadRequest."""
    if not name:
        raise NodeIDRequired("which node?")
    if "\0" in name or len(name.encode()) > NODE_NAME_MAX_BYTES:
        raise BadRequest(f"a node's name has at most {NODE_NAME_MAX_BYTES} bytes")


def check_item_id(item_id: str) -> None:
    """Raises ItemRequired for an empty id, BadRequest."""
    if not item_id:
        raise ItemRequired("an item's id cannot be empty")
    if "\0" in item_id or len(item_id.encode()) > ITEM_ID_MAX_BYTES:
        raise BadRequest(f"an item's id has at most {ITEM_ID_MAX_BYTES} bytes")
