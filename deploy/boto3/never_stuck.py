# SPDX-License-Identifier: Apache-2.0
"""Keeps boto3 and aiobotocore clients from staying without credentials.

botocore looks for credentials when a client is created. A client that is created while the instance metadata service
(IMDS) does not answer gets none, without an error, and never asks again: every call raises `NoCredentialsError`
permanently. Two remedies, each for the clients that are created after it is called:

    import boto3
    import never_stuck

    never_stuck.heal()                  # the default session, that is boto3.client() and boto3.resource()
    never_stuck.heal(session)           # a boto3, botocore or aiobotocore session
    never_stuck.fail_loudly(session)

`heal`: a client without credentials looks for them again at its next call, so that it works as soon as IMDS does.
`fail_loudly`: creating a client raises `NoCredentialsError` if there are no credentials, so that the process fails at its
start and its platform restarts it. They can be combined.

Clients that have credentials, explicit ones included, unsigned clients, unsigned operations and bearer tokens are left
alone. Needs boto3 1.20 or later, or aiobotocore 2.13 or later, and nothing else. If prometheus_client is installed, its
default registry gets three counters: `boto3_stuck_clients_total`, `boto3_healed_clients_total` and
`boto3_calls_without_credentials_total`.

botocore has no public way to give a client credentials, so this sets one private attribute, `RequestSigner._credentials`.
If this botocore does not have it, `heal` and `fail_loudly` raise `UnsupportedBotocoreError`.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import os
import threading
import time
import weakref
from typing import Any, Protocol

from botocore.auth import AUTH_TYPE_MAPS
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from botocore.hooks import HierarchicalEmitter
from botocore.model import ServiceId
from botocore.signers import RequestSigner

__all__ = ["RETRY_SECONDS", "Session", "UnsupportedBotocoreError", "fail_loudly", "heal"]

RETRY_SECONDS = 1.0
"""After a search that found no credentials, the clients of that session start no other one for this long."""

_log = logging.getLogger(__name__)


class Session(Protocol):
    """A session of boto3, botocore or aiobotocore."""

    def get_credentials(self) -> Any: ...


class UnsupportedBotocoreError(RuntimeError):
    """This version of botocore lacks what the remedies rely on."""


def heal(session: Session | None = None) -> None:
    """Lets clients without credentials look for them again at their next call.

    Concerns the clients that `session`, by default boto3's default session, creates from now on. One search serves all
    of a session's clients and threads: the others wait for it, and after one that found nothing, calls fail for
    `RETRY_SECONDS` without another. A search takes as long as creating a client. A call that gets no credentials raises
    what it raises without this, or `NoCredentialsError` caused by the error of the search.
    """
    session = _default_session() if session is None else session
    asynchronous = inspect.iscoroutinefunction(session.get_credentials)
    _check_signer(asynchronous)
    healer = _AsyncHealer(session) if asynchronous else _Healer(session)
    _emitter(session).register("before-sign", healer, unique_id="never_stuck.heal")


def fail_loudly(session: Session | None = None) -> None:
    """Makes creating a client raise `NoCredentialsError` if there are no credentials to sign its calls with.

    Concerns the clients and resources that `session`, by default boto3's default session, creates from now on. For a
    client that is meant to work without credentials, pass `Config(signature_version=botocore.UNSIGNED)`.
    """
    emitter = _emitter(_default_session() if session is None else session)
    _check_signer(asynchronous=False)
    _require("request_signer" in inspect.signature(BaseClient.__init__).parameters, "BaseClient(request_signer=...)")
    emitter.register("creating-client-class", _add_check, unique_id="never_stuck.fail_loudly")


class _Healer:
    """Handles `before-sign`: gives a signer without credentials those that its session finds now."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stuck: weakref.WeakSet[RequestSigner] = weakref.WeakSet()
        self._not_before = 0.0
        self._owner = self._who()
        self._lock = self._new_lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Healer:
        return type(self)(copy.deepcopy(self._session, memo))

    def __call__(self, request_signer: Any, signature_version: Any, event_name: str, **_: Any) -> Any:
        if request_signer._credentials is None and _needs_credentials(signature_version):
            return self._heal(request_signer, event_name)
        return None

    @staticmethod
    def _who() -> Any:
        return os.getpid()

    @staticmethod
    def _new_lock() -> Any:
        return threading.Lock()

    def _own_lock(self) -> Any:
        """The lock of this process, or of this event loop: one of another may never be released here."""
        owner = self._who()
        if owner != self._owner:
            self._owner, self._lock = owner, self._new_lock()
        return self._lock

    def _heal(self, signer: Any, event: str) -> Any:
        with self._own_lock():
            if self._is_due(signer):
                try:
                    self._give(signer, self._session.get_credentials(), event)
                except Exception as error:
                    self._found_none()
                    raise NoCredentialsError() from error

    def _is_due(self, signer: Any) -> bool:
        if signer._credentials is not None:
            return False
        if signer not in self._stuck:
            self._stuck.add(signer)
            _count(_STUCK)
        if time.monotonic() < self._not_before:
            _count(_FAILED)
            return False
        return True

    def _give(self, signer: Any, credentials: Any, event: str) -> None:
        if credentials is None:
            self._found_none()
            return
        signer._credentials = credentials
        self._stuck.discard(signer)
        _count(_HEALED)
        _log.warning("a client that was created without credentials has them now (%s)", event)

    def _found_none(self) -> None:
        self._not_before = time.monotonic() + RETRY_SECONDS
        _count(_FAILED)


class _AsyncHealer(_Healer):
    """The same for aiobotocore, whose sessions and handlers are asynchronous."""

    @staticmethod
    def _who() -> Any:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    @staticmethod
    def _new_lock() -> Any:
        return asyncio.Lock()

    async def _heal(self, signer: Any, event: str) -> None:
        async with self._own_lock():
            if self._is_due(signer):
                try:
                    self._give(signer, await self._session.get_credentials(), event)
                except Exception as error:
                    self._found_none()
                    raise NoCredentialsError() from error


class _FailsLoudly:
    """A base class of clients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        signer = kwargs["request_signer"]
        if signer._credentials is None and _needs_credentials(signer.signature_version):
            raise NoCredentialsError()
        super().__init__(*args, **kwargs)


def _add_check(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _FailsLoudly)


def _needs_credentials(signature_version: Any) -> bool:
    """Whether AWS credentials make this signature; the versions that are not listed are unsigned or custom."""
    signature = AUTH_TYPE_MAPS.get(signature_version)
    return signature is not None and not getattr(signature, "REQUIRES_TOKEN", False)


def _default_session() -> Session:
    import boto3

    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    session: Session = boto3.DEFAULT_SESSION
    return session


def _emitter(session: Any) -> Any:
    return session.events if hasattr(session, "events") else session.get_component("event_emitter")


def _check_signer(asynchronous: bool) -> None:
    signer: Any = RequestSigner
    if asynchronous:
        from aiobotocore.signers import AioRequestSigner

        signer = AioRequestSigner
    credentials = object()
    instance = signer(ServiceId("check"), "us-east-1", "check", "v4", credentials, HierarchicalEmitter())
    _require(getattr(instance, "_credentials", None) is credentials, "RequestSigner._credentials")


def _require(exists: bool, name: str) -> None:
    if not exists:
        import botocore

        raise UnsupportedBotocoreError(f"botocore {botocore.__version__} has no {name}, which never_stuck relies on")


def _counter(name: str, text: str) -> Any:
    try:
        from prometheus_client import Counter
    except ImportError:
        return None
    return Counter(name, text)


def _count(counter: Any) -> None:
    if counter is not None:
        counter.inc()


_STUCK = _counter("boto3_stuck_clients_total", "Clients that had no credentials at a call.")
_HEALED = _counter("boto3_healed_clients_total", "Clients that got credentials after they had none.")
_FAILED = _counter("boto3_calls_without_credentials_total", "Calls for which there were no credentials.")
