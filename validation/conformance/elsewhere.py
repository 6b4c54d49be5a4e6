"""Noise of a design from another Python process, in which strings have other hashes."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np

from mcgen.designs import Design
from mcgen.noise import NoiseSpec
from mcgen.noise.random import Seed
from mcgen.validation.conformance.reports import NotJudgedError

# Seconds after which the other process is stopped.
_SECONDS = 60
_REPLICATES, _STREAM = range(2, 5), ("condition", "1")
# Does the same as `drawn`; it imports only numpy and what the design needs, which is faster than this package.
_CODE = """
import hashlib, pickle, sys
import numpy
design, arguments, options = pickle.load(sys.stdin.buffer)
noise = numpy.asarray(design.draw(*arguments, **options))
print()
print(hashlib.sha256(noise.tobytes()).hexdigest(), ascii(str(design)))
"""


def drawn(design: Design, spec: NoiseSpec, seed: Seed) -> tuple[str, str]:
    """Return the digest of some noise of a design, and the design's text form."""
    noise = np.asarray(design.draw(spec, _REPLICATES, seed, stream=_STREAM))
    return hashlib.sha256(noise.tobytes()).hexdigest(), ascii(str(design))


def drawn_elsewhere(design: Design, spec: NoiseSpec, seed: Seed) -> tuple[str, str]:
    """Return what `drawn` returns in a new Python process with another hash seed; takes about a third of a second.

    Raises
    ------
    NotJudgedError
        If the design can't be drawn there, for example because it is defined in a script or a notebook.
    """
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        call = pickle.dumps((design, (spec, _REPLICATES, seed), {"stream": _STREAM}))
        command = [sys.executable, "-P", "-c", _CODE]
        done = subprocess.run(command, input=call, capture_output=True, env=environment, timeout=_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip().rpartition("\n")[2]
        raise NotJudgedError(f"another process can't draw it ({said or type(error).__name__})") from None
    except Exception as error:
        raise NotJudgedError(f"another process can't draw it ({type(error).__name__}: {error})") from None
    digest, _, text = done.stdout.decode().splitlines()[-1].partition(" ")
    return digest, text
