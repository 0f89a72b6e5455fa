"""Integers, strings, dictionaries, regular expressions, hashes and big numbers; no floating point in the output."""
import hashlib
import json
import re

state = 12345


def rnd(n):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
    return (state >> 33) % n


words = ["".join(chr(97 + rnd(26)) for _ in range(2 + rnd(7))) for _ in range(4000)]
count = {}
for w in words:
    for i in range(len(w)):
        count[w[i:]] = count.get(w[i:], 0) + 1
top = sorted(count.items(), key=lambda p: (-p[1], p[0]))[:50]
print(json.dumps(top))

text = " ".join(words)
print(len(re.findall(r"\b(\w)\w*\1\b", text)), re.sub(r"[aeiou]+", "_", text)[:200])

board = [0] * 8
solutions = 0


def queens(row, columns, up, down):
    global solutions
    if row == 8:
        solutions += 1
        return
    for c in range(8):
        if not (columns >> c & 1 or up >> (row + c) & 1 or down >> (row - c + 8) & 1):
            queens(row + 1, columns | 1 << c, up | 1 << (row + c), down | 1 << (row - c + 8))


queens(0, 0, 0, 0)
print(solutions)

a, b = 0, 1
for _ in range(6000):
    a, b = b, a + b
print(hashlib.sha256(str(a % 10**1200).encode()).hexdigest(), pow(3, 2**400 + 1, 2**521 - 1))
print(hashlib.md5(text.encode()).hexdigest(), hashlib.blake2b(text.encode()).hexdigest())
rows = [(rnd(1000), rnd(1000), words[rnd(len(words))]) for _ in range(15000)]
rows.sort(key=lambda r: (r[2], -r[0], r[1]))
print(rows[::500])
