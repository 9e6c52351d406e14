"""tanh, logistic and exp of a float32, in a form that vectorises in a loop; and a row's copy.

tanh is a quotient of polynomials in x * x, fitted to tanh(x) / x on [0, 7.9] with the smallest
maximum relative error (2e-8 in exact arithmetic, 3e-7 in float32). Beyond 7.9 it is constant. NaN
stays NaN.
"""

from __future__ import annotations

import numpy as np

from minidark.backend.compiled.kernel import kernel

f = np.float32

TANH_END = f(7.9)
P0, P1, P2, P3, P4, P5 = (
    f(0.999999983),
    f(0.129849002),
    f(0.0029920856),
    f(9.93904452e-06),
    f(-1.49056105e-08),
    f(2.41027899e-11),
)
Q1, Q2, Q3 = f(0.463182182), f(0.0240530502), f(0.000238085021)

LOG2_E, LN2_HIGH, LN2_LOW = f(1.4426950408889634), f(0.693359375), f(-2.12194440e-4)
EXP_BEGIN = f(-87)  # below it, the result would be smaller than the smallest normal number


@kernel(inline="always")
def tanh(x):
    x = TANH_END if x > TANH_END else x
    x = -TANH_END if x < -TANH_END else x
    y = x * x
    p = x * (P0 + y * (P1 + y * (P2 + y * (P3 + y * (P4 + y * P5)))))
    return p / (f(1) + y * (Q1 + y * (Q2 + y * Q3)))


@kernel(inline="always")
def logistic(x):
    return tanh(x * f(0.5)) * f(0.5) + f(0.5)


@kernel(inline="always")
def exp(x):
    """exp(x) for x <= 0."""
    x = EXP_BEGIN if x < EXP_BEGIN else x
    n = np.floor(x * LOG2_E + f(0.5))
    r = x - n * LN2_HIGH - n * LN2_LOW
    e = f(1 / 24) + r * (f(1 / 120) + r * f(1 / 720))
    e = f(1) + r * (f(1) + r * (f(1 / 2) + r * (f(1 / 6) + r * e)))
    power = (np.int32(n) + np.int32(127)) << np.int32(23)
    return e * np.int32(power).view(np.float32)


@kernel()
def copy(to, row):
    """Copy a row to one of the same size. numba takes two seconds to compile `to[:] = row`."""
    for j in range(to.size):
        to[j] = row[j]
