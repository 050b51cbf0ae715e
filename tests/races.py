"""A race that is over, for the tests of what is made of it."""

from bench.limits import Work
from bench.race import Race

RATES = {"copy": 1e9, "float32": 1e11}


def race(turns, **options):
    return Race("kernels", "forward", "cpu", turns, options.pop("work", Work("x", bytes=1.0)), RATES, **options)
