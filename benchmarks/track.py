"""What it costs to find the tracks that a post meets, with few of them and with very many.

    python benchmarks/track.py [--tracks 1,10000,1000000] [--posts 2000]

Posts are of thirty words drawn by a power law, with tags, authors and, one in ten, a place. Tracks are of one word, of
two, of a phrase, of a tag, of a word of an author, of a word near a place, of a place: each with one word out of five
million, all alike, as names and numbers are, so that a post meets few of them however many there are; the second word
is as frequent as in posts. Before the tracks are filed a thousand posts are heard, as at the start of a node.

For each number of tracks: the processor time that a post takes, its median and its 99th percentile, and that of posts
which meet none; how many a post meets; what it takes to file a track; and the memory of the tracks and of the index.
"""

import argparse
import random
import resource
import statistics
import time
from bisect import bisect
from itertools import accumulate

from microblog.model.jid import JID
from microblog.model.query import Circle, Content, Query
from microblog.model.track import Index

WORDS = 5_000_000
AUTHORS = 50_000
TAGS = 1_000_000
LEARNED = 1000
MICRO = 1_000_000


class Crowd:
    """Draws numbers below ``size``: small ones often, by a power law."""

    def __init__(self, size: int, exponent: float, chance: random.Random) -> None:
        self._sums = list(accumulate((n + 1) ** -exponent for n in range(size)))
        self._chance = chance

    def draw(self) -> int:
        return bisect(self._sums, self._chance.random() * self._sums[-1])


class Town:
    """What people write, and what they look for."""

    def __init__(self, seed: int = 7) -> None:
        self.chance = random.Random(seed)
        self._words = Crowd(WORDS, 1.0, self.chance)
        self._authors = Crowd(AUTHORS, 0.7, self.chance)
        self._tags = Crowd(TAGS, 0.9, self.chance)

    def word(self) -> str:
        return f"w{self._words.draw()}"

    def author(self) -> JID:
        number = self._authors.draw()
        return JID(f"a{number}", f"d{number % 100}.example")

    def place(self) -> tuple[int, int]:
        """Around a few hundred cities."""
        city = random.Random(self.chance.randrange(300))
        latitude, longitude = city.randrange(-60 * MICRO, 70 * MICRO), city.randrange(-180 * MICRO, 180 * MICRO)
        return latitude + self.chance.randrange(-200_000, 200_000), longitude + self.chance.randrange(-200_000, 200_000)

    def query(self) -> Query:
        kind = self.chance.random()
        word = f"w{self.chance.randrange(WORDS)}"
        if kind < 0.35:
            return Query(terms=((word,),))
        if kind < 0.60:
            return Query(terms=((word,), (self.word(),)))
        if kind < 0.70:
            return Query(terms=((self.word(), word),))
        if kind < 0.80:
            return Query(tags=(f"t{self.chance.randrange(TAGS)}",))
        if kind < 0.90:
            return Query(terms=((self.word(),),), authors=(self.author(),))
        latitude, longitude = self.place()
        circle = Circle(latitude=latitude, longitude=longitude, metres=500)
        return Query(terms=((word,),) if kind < 0.95 else (), circle=circle)

    def post(self) -> Content:
        latitude, longitude = self.place() if self.chance.random() < 0.1 else (None, None)
        return Content(
            words=tuple(self.word() for _ in range(30)),
            tags=frozenset(f"t{self._tags.draw()}" for _ in range(self.chance.randrange(3))),
            author=self.author(),
            language="en",
            latitude=latitude,
            longitude=longitude,
        )


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(number: int, posts: int) -> None:
    town = Town()
    index: Index[int] = Index()
    for _ in range(LEARNED):
        index.hear(town.post())
    before = memory_mib()
    queries = [town.query() for _ in range(number)]
    held = memory_mib()
    began = time.process_time()
    for key, query in enumerate(queries):
        index.add(key, query)
    filed = time.process_time() - began
    after = memory_mib()
    took: list[float] = []
    nothing: list[float] = []
    met = 0
    for _ in range(posts):
        post = town.post()
        began = time.process_time()
        found = len(index.matching(post))
        seconds = time.process_time() - began
        took.append(seconds)
        met += found
        if not found:
            nothing.append(seconds)
    took.sort()
    print(
        f"{number:>9,} {statistics.median(took) * 1e6:>9.0f} {took[int(len(took) * 0.99)] * 1e6:>9.0f}"
        f" {statistics.median(nothing) * 1e6 if nothing else float('nan'):>9.0f} {met / posts:>9.1f}"
        f" {filed / number * 1e6:>9.1f} {held - before:>9.0f} {after - held:>9.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", default="1,10000,1000000")
    parser.add_argument("--posts", type=int, default=2000)
    options = parser.parse_args()
    print("   tracks   median       p99   nothing       met      file   queries     index")
    print("                µs        µs        µs    a post  µs/track       MiB       MiB")
    for number in map(int, options.tracks.split(",")):
        measure(number, options.posts)


if __name__ == "__main__":
    main()
