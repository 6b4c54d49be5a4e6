"""Submitting to a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

# What dask may take to hand a finished piece on.
_DELIVERY_SECONDS = 60.0


def submit_to_dask(executor: Any, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Submit a call to dask, of whose own executor a future never ends if a worker dies with the result unsent."""
    status = executor._client.status
    if executor._shutdown or status != "running":
        raise RuntimeError(f"cannot schedule new futures after shutdown; the dask client is {status}")
    # Equal calls are one to dask otherwise, also where one is to be tried again elsewhere.
    remote = executor._client.submit(function, *arguments, **{**executor._kwargs, "pure": False})
    future: Future[Any] = Future()

    def deliver(finished: Any) -> None:
        try:
            result, error = finished.result(_DELIVERY_SECONDS), None
        except BaseException as problem:
            result, error = None, problem
        if not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def give_up(local: Future[Any]) -> None:
        if local.cancelled():
            with suppress(Exception):
                remote.cancel()

    future.add_done_callback(give_up)
    remote.add_done_callback(deliver)
    return future
