"""The workers of a Dask client as an executor, by the public functions of `distributed.Client`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mcgen.errors import warn_user

if TYPE_CHECKING:
    from distributed import Client

# Seconds that Dask may take to deliver the result of a call that is done. Without a limit the call of a worker that
# died before it sent the result may never end; a minute is far longer than any delivery takes.
_DELIVERY_SECONDS = 60.0


class DaskExecutor(Executor):
    """A Dask client as an executor. Equal calls are separate calls, and every call ends if its worker dies.

    Parameters
    ----------
    client : distributed.Client
        The client, not an asynchronous one. It stays the caller's to close.
    """

    def __init__(self, client: Client) -> None:
        self._client: Any = client

    def __repr__(self) -> str:
        return repr(self._client)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call; `dask.annotate` applies to it.

        Raises
        ------
        RuntimeError
            If the client is closed.
        """
        status = self._client.status
        if status != "running":
            raise RuntimeError(f"cannot schedule new futures after shutdown; the dask client is {status}")
        # Dask takes equal calls of a pure function for one call, even where the second is to replace a lost first.
        remote = self._client.submit(partial(fn, **kwargs) if kwargs else fn, *args, pure=False)
        future: Future[Any] = Future()
        future.add_done_callback(partial(_cancel_remote, remote))
        remote.add_done_callback(partial(_deliver, future))
        return future

    def n_threads(self) -> int | None:
        """Return the number of threads of all workers, None where the client is closed."""
        return sum(self._client.nthreads().values()) if self._client.status == "running" else None

    def answers(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what a call returns or raises on each worker; it runs beside their threads."""
        if self._client.status != "running":
            return []
        return list(self._client.run(function, *arguments, on_error="return").values())


def is_dask_client(thing: Any) -> bool:
    """Tell whether something is a `distributed.Client`, without importing Dask."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(thing, distributed.Client)


def warn_of_get_executor(executor: Executor) -> None:
    """Warn of an executor that Dask's ``client.get_executor()`` made: its client has no public name."""
    if type(executor).__module__.startswith("distributed."):
        warn_user(
            "the executor that client.get_executor() returns does not say how many workers it has, and may wait for "
            "ever for the result of a worker that died. Pass the client itself, executor=client; for resources call "
            'mcgen within `with dask.annotate(resources={"GPU": 1}):`',
            UserWarning,
        )


def _deliver(future: Future[Any], remote: Any) -> None:
    """Give a future the result of the Dask future, which is done."""
    try:
        result, error = remote.result(_DELIVERY_SECONDS), None
    except BaseException as problem:
        result, error = None, problem
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _cancel_remote(remote: Any, future: Future[Any]) -> None:
    if future.cancelled():
        with suppress(Exception):
            remote.cancel()
