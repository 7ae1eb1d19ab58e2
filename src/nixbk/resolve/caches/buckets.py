"""Who the user is to a bucket of S3, and what its server says of a failure. Effect: reads files.

Of all that programs of AWS know, the environment and the two files of profiles count. Whoever has
credentials elsewhere brings them into the environment (``aws configure export-credentials``).

Source: ``createProviderForProfile``, Nix ``src/libstore/aws-creds.cc``; ``TransferItem::finish``,
Nix ``src/libstore/filetransfer.cc``; the error codes of S3's API.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixbk.errors import NixbkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nixbk.resolve.caches.verdicts import Kind

DEFAULT_PROFILE: Final = "default"

_CODE: Final = re.compile(rb"<Error>.{0,2000}?<Code>([A-Za-z0-9]{1,64})</Code>", re.DOTALL)
_AGAIN: Final = frozenset(
    {
        "IncompleteBody", "InternalError", "InternalFailure", "InternalServerError",
        "RequestExpired", "RequestThrottled", "RequestTimeout", "ServiceUnavailable", "SlowDown",
        "ThrottledException", "Throttling",
    }
)  # fmt: skip
_KEYS_HINT: Final = (
    "are the key and its secret right? they are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "those of the profile"
)
_RIGHTS_HINT: Final = (
    "without credentials a bucket gives what is public; with them, what they allow: see "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or '?profile='"
)
_REGION_HINT: Final = "write the bucket's own region: '?region='"
_HINTS: Final = {
    "AccessDenied": _RIGHTS_HINT,
    "AuthorizationHeaderMalformed": _REGION_HINT,
    "EntityTooLarge": "a bucket takes no more than 5 GiB at once",
    "ExpiredToken": "get new credentials: AWS_SESSION_TOKEN has had its time",
    "InvalidAccessKeyId": _KEYS_HINT,
    "InvalidToken": "is AWS_SESSION_TOKEN that of the key?",
    "NoSuchBucket": "is the bucket's name right, and its region and endpoint?",
    "PermanentRedirect": _REGION_HINT,
    "RequestTimeTooSkewed": "is this machine's clock right?",
    "SignatureDoesNotMatch": _KEYS_HINT,
    "TemporaryRedirect": _REGION_HINT,
    "XAdminUserNotFound": _KEYS_HINT,  # of VersityGW
}
_REFUSED: Final = frozenset(
    {
        "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed",
        "SignatureDoesNotMatch", "XAdminUserNotFound",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs requests.

    Attributes:
        key_id: names the secret.
        secret: never leaves this machine.
        token: what goes with credentials of a short life; empty without.
    """

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def credentials(profile: str, environ: Mapping[str, str]) -> Credentials | None:
    """Those of the user: of the environment, else of a profile; None without any.

    Args:
        profile: as the address names it; empty for ``AWS_PROFILE``, then ``default``.
        environ: the user's.

    Raises:
        NixbkError: a profile is named that is not there, or has none.
    """
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        return _of(environ, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    named = profile or environ.get("AWS_PROFILE", "")
    for file, prefix in _files(environ):
        for section in dict.fromkeys([named or DEFAULT_PROFILE, f"{prefix}{named}"]):
            found = _read(file).get(section)
            if found and found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
                return _of(found, "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    if named and named != DEFAULT_PROFILE:
        raise NixbkError(
            f"the profile {named!r} has no aws_access_key_id and aws_secret_access_key",
            where=str(next(file for file, _ in _files(environ))),
            hint="bring other credentials into the environment, as by "
            "'aws configure export-credentials --format env'",
        )
    return None


def _of(found: Mapping[str, str], key_id: str, secret: str, token: str) -> Credentials:
    return Credentials(found[key_id].strip(), found[secret].strip(), found.get(token, "").strip())


def _files(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """The files of profiles, and what stands before their names in there."""
    folder = Path(environ.get("HOME") or "~").expanduser() / ".aws"
    yield Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials"), ""
    yield Path(environ.get("AWS_CONFIG_FILE") or folder / "config"), "profile "


def _read(file: Path) -> Mapping[str, Mapping[str, str]]:
    """The sections of a file; none where there is no such file.

    Raises:
        NixbkError: it cannot be read; the message has nothing of what is in it.
    """
    import configparser  # noqa: PLC0415  few caches are buckets

    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(file.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NixbkError(f"cannot read the credentials: {reason}", where=str(file)) from error
    except (configparser.Error, UnicodeDecodeError):
        raise NixbkError(
            "cannot read the credentials: it is no INI file", where=str(file)
        ) from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def said(body: bytes, kind: Kind) -> tuple[str, Kind, str] | None:
    """What a server of S3 says in an answer that is an error; None if it says nothing.

    Args:
        body: of the answer.
        kind: what its status means.

    Returns:
        Its code, what that means, and a hint.
    """
    found = _CODE.search(body) if body else None
    if found is None:
        return None
    code = found[1].decode()
    if code in _AGAIN:
        kind = "again"
    elif code in _REFUSED:
        kind = "login"
    elif kind == "absent" and code in _HINTS:
        kind = "fail"  # it is no file that is not there
    return code, kind, _HINTS.get(code, "")
