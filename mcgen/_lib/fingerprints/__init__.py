"""The content of generators, statistics and other values, by which a store or a worker recognizes them.

`content_of` walks through a value and lists its parts, each with a short text that changes when the part changes:

- functions: their code, both kinds of defaults, their closure variables, and the globals that they read;
- containers: their elements; arrays and tensors: their numbers; instances: their state;
- torch modules: their parameters, buffers and attributes;
- files that a text or a path names: their content;
- installed code: the name and version of its distribution; the user's code: its bytecode; mcgen's own code: its names.

An object with an attribute ``fingerprint``, a text, is compared by that text alone. Parts whose content can't be found
out are listed separately, with their places. Progress bars, loggers, locks and output streams do not change results,
and are left out.
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
