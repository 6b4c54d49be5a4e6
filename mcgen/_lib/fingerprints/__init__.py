"""What a generator, a statistic or another value is, by which a store or a worker knows it again.

`content_of` walks through a value and lists its parts, each with a short text that changes with the part:

- functions: their code, both kinds of defaults, what they close over, and the globals and functions that they read;
- containers element by element, arrays and tensors by their numbers, instances by their state, modules of torch by
  their parameters, buffers and attributes;
- files that a text or a path names, by their content;
- code of installed distributions by name and version, the user's own code by what it says, mcgen's own by public names.

An object with an attribute ``fingerprint``, a text, is known by that alone. What can't be known is listed apart, with
its place. Progress bars, loggers, locks and output streams are no part of a result, and are left out.
"""

from mcgen._lib.fingerprints.comparison import (
    EXCLUDE,
    Change,
    Changes,
    Difference,
    Given,
    Sides,
    Watched,
    changes_of_globals,
    differences,
    shown,
    unknown_text,
)
from mcgen._lib.fingerprints.files import content_of_file
from mcgen._lib.fingerprints.places import SAME, is_file, is_inside
from mcgen._lib.fingerprints.walk import FINGERPRINT, Content, content_of, fingerprint_of, networks_in_training

__all__ = [
    "EXCLUDE",
    "FINGERPRINT",
    "SAME",
    "Change",
    "Changes",
    "Content",
    "Difference",
    "Given",
    "Sides",
    "Watched",
    "changes_of_globals",
    "content_of",
    "content_of_file",
    "differences",
    "fingerprint_of",
    "is_file",
    "is_inside",
    "networks_in_training",
    "shown",
    "unknown_text",
]
