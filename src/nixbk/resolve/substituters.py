"""The binary caches of a manifest, ready to be asked. Effect: asks them; keeps their answers."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from nixbk.errors import NixbkError
from nixbk.nix.signatures import PublicKey
from nixbk.resolve.small_nars import SmallNarError, look_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from nixbk.nix.store_path import StorePath
    from nixbk.resolve.caches.address import CacheAddress
    from nixbk.resolve.caches.answers import Answers
    from nixbk.resolve.caches.buckets import Credentials
    from nixbk.resolve.caches.cache import Cache
    from nixbk.resolve.caches.faults import CacheError
    from nixbk.resolve.caches.judge import Answer
    from nixbk.resolve.caches.query import Caches
    from nixbk.schema.lock import LockedSubstitute
    from nixbk.schema.manifest import Manifest

__all__ = ["Asking", "SmallNarError", "Substituters", "caches_of", "substituters_of"]


T = TypeVar("T")


class Waiting(Protocol):
    """Does what waits for caches."""

    def __call__(self, cancel: Callable[[], None], work: Callable[[], T], /) -> T:
        """What *work* returns or raises; *cancel*, from any thread, makes it fail soon."""


def _wait(_cancel: Callable[[], None], work: Callable[[], T], /) -> T:
    return work()


class Asking(NamedTuple):
    """How caches are asked.

    Attributes:
        environ: of the user.
        netrc_file: the user's choice; None for ``$NETRC``, then ``~/.netrc``.
        refresh: whether what they said before does not count.
        offline: whether only that counts.
        progress: told how many paths have an answer, and how many there are.
        waiting: does what waits for caches; told how to end that, too.
    """

    environ: Mapping[str, str]
    netrc_file: Path | None = None
    refresh: bool = False
    offline: bool = False
    progress: Callable[[int, int], None] | None = None
    waiting: Waiting = _wait


class Substituters:
    """Caches that are asked, and looked into."""

    def __init__(self, caches: Caches, answers: Answers, waiting: Waiting) -> None:
        self._caches = caches
        self._answers = answers
        self._waiting = waiting

    def __call__(self, paths: Iterable[StorePath], /) -> Mapping[StorePath, tuple[Answer, ...]]:
        """What caches say of *paths* and of all that accepted answers refer to."""
        return self._waiting(self._caches.cancel, lambda: self._caches.ask_closure(paths))

    def outputs(self, ids: Iterable[str], /) -> Mapping[str, StorePath | CacheError | None]:
        """What caches say that outputs came to; see `Caches.outputs`."""
        return self._caches.outputs(ids)

    def look_into(
        self,
        substitutes: Mapping[StorePath, LockedSubstitute],
        old: Mapping[StorePath, LockedSubstitute],
    ) -> dict[StorePath, LockedSubstitute]:
        """*substitutes*, with the symbolic links among them told apart.

        Raises:
            SmallNarError: no cache gives a short archive with the right hash.
        """
        return self._waiting(
            self._caches.cancel, lambda: look_into(substitutes, self._caches, self._answers, old)
        )


@contextmanager
def substituters_of(manifest: Manifest, folder: Path, asking: Asking) -> Iterator[Substituters]:
    """The caches of a manifest.

    Args:
        manifest: with at least one substituter.
        folder: the manifest's.
        asking: how they are asked.

    Raises:
        NixbkError: a login that the manifest names is not there.
    """
    from nixbk.resolve.caches.answers import Answers  # noqa: PLC0415 - few locks ask
    from nixbk.resolve.caches.query import Caches  # noqa: PLC0415

    keys = {key.name: key for key in map(PublicKey.parse, manifest.public_keys)}
    with ExitStack() as stack:
        answers = stack.enter_context(Answers.of_user(asking.environ))
        caches = Caches(
            caches_of(manifest, folder, asking.environ, asking.netrc_file),
            keys,
            answers=answers,
            refresh=asking.refresh,
            offline=asking.offline,
            progress=asking.progress,
            environ=asking.environ,
        )
        stack.enter_context(caches)
        caches.warm()
        yield Substituters(caches, answers, asking.waiting)


def caches_of(
    manifest: Manifest, folder: Path, environ: Mapping[str, str], netrc: Path | None
) -> list[Cache]:
    """The caches of a manifest, in its order, with the user's logins.

    Raises:
        NixbkError: a login that the manifest names is not there.
    """
    from nixbk.resolve.caches.address import CacheAddress  # noqa: PLC0415 - few locks ask
    from nixbk.resolve.caches.cache import Cache  # noqa: PLC0415
    from nixbk.resolve.caches.logins import netrc_file  # noqa: PLC0415

    logins = netrc_file(netrc, environ)
    found: list[Cache] = []
    for name, entry in manifest.substituters.items():
        token = environ.get(entry.token_env) if entry.token_env else None
        if entry.token_env and not token:
            raise NixbkError(
                f"there is no variable {entry.token_env!r} in the environment",
                where=f"substituters.{name}.token-env",
                hint="it has the token that logs in to this cache",
            )
        ca_file = folder / entry.ca_file if entry.ca_file else None
        address = CacheAddress.parse(entry.url, folder)
        if address.bucket is not None and token:
            raise NixbkError(
                "a bucket takes credentials of AWS, and no token",
                where=f"substituters.{name}.token-env",
                hint="see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or '?profile='",
            )
        signer = credentials_of(address, environ)
        found.append(Cache(name, address, entry.trust, ca_file, token, logins, signer))
    return found


def credentials_of(address: CacheAddress, environ: Mapping[str, str]) -> Credentials | None:
    """What signs requests to a bucket; None for what is none, and for one that is public.

    Raises:
        NixbkError: the address names a profile that is not there.
    """
    if address.bucket is None:
        return None
    from nixbk.resolve.caches.buckets import credentials  # noqa: PLC0415 - few caches are

    return credentials(address.bucket.profile, environ)
