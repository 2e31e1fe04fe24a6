"""Tags that people follow: what has them, as far as they may read it, is in their home timelines."""

from typing import Final

from microblog.model.entry import fold_tag
from microblog.model.errors import NotAcceptable, NotSubscribed, ResourceConstraint
from microblog.model.jid import JID
from microblog.store.transaction import Transaction
from microblog.usecases.reading import TAG_MAX_CHARACTERS

TAGS_MAX: Final = 50


def follow(tx: Transaction, account: int, tag: str) -> str:
    """Follow a tag; again, and nothing changes. As it is kept. Raises NotAcceptable, ResourceConstraint."""
    tag = fold_tag(tag)
    if not 0 < len(tag) <= TAG_MAX_CHARACTERS:
        raise NotAcceptable("that is no tag")
    if tx.followed_tags.add(account, tag) and tx.followed_tags.count(account) > TAGS_MAX:
        tx.followed_tags.remove(account, tag)
        raise ResourceConstraint(f"you follow {TAGS_MAX} tags already")
    return tag


def leave(tx: Transaction, account: int, tag: str) -> str:
    """Follow a tag no longer; as it was kept. Raises NotSubscribed."""
    tag = fold_tag(tag)
    if not tx.followed_tags.remove(account, tag):
        raise NotSubscribed("you do not follow this tag")
    return tag


def tags(tx: Transaction, reader: JID) -> tuple[str, ...]:
    """The tags that somebody here follows."""
    return tuple(tx.followed_tags.of(reader))
