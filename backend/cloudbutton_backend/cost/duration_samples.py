"""Predictive samples of item durations, drawn from a few measured ones. Pure arithmetic.

A few items tell neither the mean nor the spread of all. So not one figure is worked out but many: each
draw is a pair of mean and spread that the sample allows, and stands for one way in which the
rest may turn out::

    s² ~ (what the sample spreads + a prior of half an observation) / χ²       heavy tails: of logarithms
    mean ~ the sample's, off by what s² and the sample's size allow            log-normal, small n: wide
         + a little for what the sample has not shown yet                       the few longest items
    total of k ~ k × mean, scattered by s² / k

Sums are those of a log-normal distribution, which holds well for durations that are equal, uniform,
exponential or log-normal. What it cannot know is a second kind of item that the sample has none of.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from cloudbutton_backend.job_model import Expectation

LOW, HIGH = 0.05, 0.95
"""Nine of ten lie between these quantiles."""
DRAWS: Final = 400

_PRIOR_WEIGHT: Final = 0.5
_PRIOR_SPREAD: Final = 0.5
"""Of the logarithms; what is assumed before anything is measured, and soon outvoted."""
_WIDEST: Final = 3.0
"""The largest spread of logarithms considered, …"""
_FACTOR: Final = 10.0
"""… and the factor by which a mean may be off: a wider range would tell nothing."""
_SHORTEST: Final = 0.02
"""Items count as at least this part of the mean when their logarithms are compared."""
_CAUTION: Final = 1.15
"""By which the mean's error is taken to be larger than a log-normal sample's: tails may be heavier."""
_UNSEEN: Final = 0.4
"""Part of the draws in which there is something that the sample has not shown yet."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Sample:
    """One way in which the items may turn out. Times are seconds."""

    mean: float
    spread: float
    """Standard deviation of the logarithms."""
    luck: float | None
    """Of the total, in standard deviations; None for its expectation."""
    extreme: float
    """Which quantile of what the longest item may be this is."""

    def total(self, items: int) -> float:
        """Return the seconds that `items` take together."""
        if items <= 0 or self.luck is None:
            return max(0, items) * self.mean
        # The log-normal distribution with the mean and the variance of the sum.
        variance = math.log1p(math.expm1(self.spread**2) / items)
        return items * self.mean * math.exp(self.luck * math.sqrt(variance) - variance / 2)

    def longest(self, items: int) -> float:
        """Return the seconds that the longest of `items` takes."""
        if items <= 0:
            return 0.0
        middle = self.mean * math.exp(-(self.spread**2) / 2)
        # What is above it has the probability 1 - q^(1/n), without its digits being lost in a 1.
        above = -math.expm1(math.log(self.extreme) / items)
        return middle * math.exp(-self.spread * _NORMAL.inv_cdf(min(max(above, 1e-15), 0.999)))


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of how further items may turn out."""

    middle: Sample
    """As the sample says, and no more."""
    draws: tuple[Sample, ...]
    """As it may be, each as likely as any other."""


def samples_of(sample: Sequence[float], count: int = DRAWS, *, seed: int = 0) -> Samples:
    """Return the ways in which further items like those of `sample` may turn out.

    Parameters
    ----------
    sample
        Seconds that items took, at least one.
    seed
        The same sample and seed give the same draws.
    """
    size = len(sample)
    mean = math.fsum(sample) / size
    chance = random.Random(seed)
    if mean <= 0:
        nothing = Sample(0.0, 0.0, None, 0.5)
        return Samples(nothing, (nothing,) * count)
    logs = [math.log(max(value, _SHORTEST * mean)) for value in sample]
    middle = math.fsum(logs) / size
    squares = math.fsum((value - middle) ** 2 for value in logs)
    usual = squares / max(1, size - 1)
    freedom = size - 1 + _PRIOR_WEIGHT
    weighed = squares + _PRIOR_WEIGHT * _PRIOR_SPREAD**2
    central = weighed / (
        freedom * (1 - 2 / (9 * freedom + 2)) ** 3
    )  # about the median of what is drawn
    beyond = max(sample) - sorted(sample)[size // 2]
    made = []
    for _ in range(count):
        variance = min(weighed / _chi_squared(chance, freedom), _WIDEST**2)
        off = (
            _CAUTION * math.sqrt(variance / size) * chance.gauss(0.0, 1.0)
            + (variance - central) / 2
        )
        # A share of the items that no sample of this size need have shown, beyond its longest.
        unseen = chance.betavariate(1, size) * chance.expovariate(1.0) * beyond
        drawn = mean * math.exp(min(off, 50.0)) + (unseen if chance.random() < _UNSEEN else 0.0)
        drawn = min(max(drawn, mean / _FACTOR), mean * _FACTOR)
        made.append(
            Sample(
                drawn,
                math.sqrt(variance),
                chance.gauss(0.0, 1.0),
                min(max(chance.random(), 1e-6), 1 - 1e-6),
            )
        )
    return Samples(Sample(mean, min(math.sqrt(usual), _WIDEST), None, 0.5), tuple(made))


def _chi_squared(chance: random.Random, freedom: float) -> float:
    return max(1e-9, chance.gammavariate(freedom / 2, 2.0))


def expectation(expected: float, values: Iterable[float]) -> Expectation:
    """Return what is expected, and between which quantiles nine of ten of `values` lie."""
    ordered = sorted(values)
    low, high = quantile(ordered, LOW), quantile(ordered, HIGH)
    return Expectation(expected, min(low, expected), max(high, expected))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of `ordered` lies, interpolated between neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
