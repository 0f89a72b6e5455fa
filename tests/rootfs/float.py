"""Floating-point text: where the last digit may depend on the architecture's library."""
import cmath
import math
import struct

x = 0.1
for i in range(1, 3000):
    x = math.sin(x * i) + math.exp(-x * x) + math.atan2(x, i) + math.sqrt(abs(x)) ** 1.3 + math.log1p(abs(x))
    if i % 50 == 0:
        print(repr(x), "%.17g" % math.gamma(1 + abs(x)), x.hex(), round(x, 5))
print(math.fsum(1 / k for k in range(1, 20000)), cmath.exp(complex(x, 1 / x)), 2.0**-1074, 1e308 * 10, -0.0)


def mandel(c):
    z = 0j
    for n in range(60):
        z = z * z + c
        if abs(z) > 2:
            return n
    return 60


print([mandel(complex(-2 + 3 * i / 60, -1.2 + 2.4 * j / 40)) for i in range(60) for j in range(40)])
for bits in (0x3FF0000000000001, 0x7FEFFFFFFFFFFFFF, 0x0000000000000001, 0x4340000000000001):
    v = struct.unpack("<d", struct.pack("<Q", bits))[0]
    print(repr(v), v * 3, v / 7, math.fmod(v, 0.3), math.frexp(v), int(v) % 97 if v < 1e300 else None)
