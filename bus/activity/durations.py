"""Durations in buckets, so that those of many processes can be added up and asked for a quantile.

Up to 16 ms a bucket is a millisecond wide; beyond, eight buckets share each power of two, so that a quantile is at most
an eighth off.
"""

from __future__ import annotations

from collections.abc import Mapping

_EXACT = 16


def bucket_of(ms: int) -> int:
    """The bucket of a duration in whole milliseconds; a negative one, of a clock that was set back, counts as 0."""
    if ms < _EXACT:
        return max(ms, 0)
    shift = ms.bit_length() - 4
    return (shift << 3) + (ms >> shift)


def bounds_of(bucket: int) -> tuple[int, int]:
    """The durations in a bucket: from the first up to, not including, the second, in milliseconds."""
    if bucket < _EXACT:
        return bucket, bucket + 1
    shift = (bucket >> 3) - 1
    low = (bucket - (shift << 3)) << shift
    return low, low + (1 << shift)


def quantile(buckets: Mapping[int, int], p: float) -> float | None:
    """The duration in ms that a share `p` (0 to 1) of all stayed below; None when there are none."""
    total = sum(buckets.values())
    if total <= 0:
        return None
    wanted = min(max(p, 0.0), 1.0) * total
    below = 0
    for bucket in sorted(buckets):
        count = buckets[bucket]
        if count > 0 and below + count >= wanted:
            low, high = bounds_of(bucket)
            return low + (high - low) * (wanted - below) / count
        below += count
    raise AssertionError("unreachable: all together are at least what is wanted")
