"""Reads a text, learns byte pairs from it and writes tokens: silent but for a bar of tqdm and the file that grows,
then a short training. Needs tqdm."""

import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

TEXT = Path(__file__).parents[3] / "examples" / "charlm" / "text.txt"
MERGES, SHARDS, STEPS = 80, 12, 200


def learn(words: list[list[str]]) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    for _ in range(MERGES):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        best = pairs.most_common(1)[0][0]
        merges.append(best)
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = ["".join(best)]
                at += 1
    return merges


def main(out: Path) -> None:
    text = TEXT.read_text(encoding="utf-8") * 60
    print("learning byte pairs", flush=True)
    merges = learn([list(word) for word in text.split()])
    with (out / "tokens.txt").open("w") as file:
        for shard in tqdm(range(SHARDS), desc="Tokenizing"):
            words = [list(word) for word in text.split()]
            for pair in merges:
                for word in words:
                    for at in range(len(word) - 2, -1, -1):
                        if at < len(word) - 1 and (word[at], word[at + 1]) == pair:
                            word[at : at + 2] = ["".join(pair)]
            file.write(f"{shard} " + " ".join("|".join(word) for word in words) + "\n")
            file.flush()
    total = 0
    for step in tqdm(range(STEPS), desc="Training"):
        total += sum(hash((step, n)) & 7 for n in range(60_000))
    print(f"done: {total}", flush=True)


main(Path(sys.argv[1]))
