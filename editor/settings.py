"""Every setting, read once from the environment. What cannot work stops the start with a sentence.

| variable | meaning | default |
| --- | --- | --- |
| DATA_DIR | folder of the database, the drives and the generated secret | var/ in the checkout |
| PORT | port that `manage.py serve` listens on | 8000 |
| PUBLIC_URL | the address people type; https turns on everything that needs TLS | http://127.0.0.1:PORT |
| ALLOWED_HOSTS | further host names, with commas | |
| FORWARDED_ALLOW_IPS | proxies whose X-Forwarded-* headers are believed, with commas | 127.0.0.1,::1 if https |
| DATABASE_URL | e.g. postgres://user:password@host/name | SQLite in DATA_DIR |
| SECRET_KEY | signs sessions; 50 characters or more | generated into DATA_DIR |
| SECRETS_KEY_FILE | file of the key that passwords are sealed with | secrets.key in DATA_DIR, made when needed |
| ISCSI_EXPORTER | what serves drives to servers: tgt, or none | tgt |
| ISCSI_PORTAL | address and port that initiators connect to | 127.0.0.1:13260 |
| IQN_PREFIX | how all our iSCSI names begin; servers know them, so never change it | iqn.2026-11.internal.editor |
| SHUTDOWN_SECONDS | time limit of a soft shutdown, 30 to 86400 | 120 |
| EVENT_DAYS | how long the activity is kept | 90 |
| EMBEDDED_WORKER | 1: the web process also does the worker's work; `serve` sets it | 0 |
| DEBUG | 1: error pages with internals, templates and static files read anew | 0 |
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import django
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def _text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def _words(name: str, default: str = "") -> list[str]:
    return [word for part in _text(name, default).split(",") if (word := part.strip())]


def _yes(name: str) -> bool:
    value = _text(name, "0").lower()
    if value not in {"0", "1", "false", "true", "no", "yes"}:
        raise ImproperlyConfigured(f"{name} is {value!r}. Set it to 1 or 0.")
    return value in {"1", "true", "yes"}


def _number(name: str, default: int, *, least: int, most: int) -> int:
    value = _text(name, str(default))
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise ImproperlyConfigured(f"{name} is {value!r}. Set it to a whole number from {least} to {most}.")
    return int(value)


def _address(name: str, default: str) -> str:
    value = _text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
        raise ImproperlyConfigured(f"{name} is {value!r}. Set it to an address such as https://editor.example.org.")
    return value


def _folder(name: str, default: Path) -> Path:
    path = Path(_text(name, str(default))).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The folder {path} cannot be made: {error.strerror}. Set {name} to a folder you may write to."
        ) from error
    return path


def _secret(name: str, path: Path) -> str:
    """Answers the secret of the environment, else that of the file, which is made on first use.

    Two processes that start at once get the same one: a whole file is linked into place, and only the first
    link succeeds.
    """
    if value := _text(name):
        if len(value) < 50:
            raise ImproperlyConfigured(f"{name} has {len(value)} characters. Use 50 or more, or leave it unset.")
        return value
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        if not path.exists():
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(64))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # another process was first; its secret counts
            finally:
                draft.unlink()
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
        value = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The secret {path} cannot be kept: {error.strerror}. "
            f"Make the folder writable, set DATA_DIR to another one, or set {name}."
        ) from error
    if len(value) < 50:
        raise ImproperlyConfigured(f"The secret {path} is damaged. Delete it; everybody signs in again.")
    return value


def _static_version(folder: Path) -> str:
    """Answers a digest that changes with any static file, ours or the admin's.

    As part of every address it makes a year of caching safe, and relative imports between modules and
    style sheets need no rewriting.
    """
    digest = hashlib.sha256(django.__version__.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# ── Where ────────────────────────────────────────────────────────────────────

DEBUG = _yes("DEBUG")
DATA_DIR = _folder("DATA_DIR", BASE_DIR / "var")
PORT = _number("PORT", 8000, least=1, most=65535)
PUBLIC_URL = _address("PUBLIC_URL", f"http://127.0.0.1:{PORT}")
_public = urlsplit(PUBLIC_URL)
_https = _public.scheme == "https"

ALLOWED_HOSTS = list(
    dict.fromkeys([_public.hostname or "", *_words("ALLOWED_HOSTS"), "localhost", "127.0.0.1", "[::1]"])
)
# A list, as uvicorn takes it. Without TLS nobody is in front by default, so nobody's headers are believed.
FORWARDED_ALLOW_IPS = _words("FORWARDED_ALLOW_IPS", "127.0.0.1,::1" if _https else "")

ROOT_URLCONF = "editor.urls"
ASGI_APPLICATION = "editor.asgi.application"

# ── What it is made of ───────────────────────────────────────────────────────

INSTALLED_APPS = [
    "editor",
    "snapshots",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "csp",
    "django_htmx",
    "template_partials",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # static files pass through nothing else
    "csp.middleware.CSPMiddleware",
    "editor.security.permissions_policy",
    "editor.security.DatabaseUnavailable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "editor.security.SignInRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "editor.views.page.newest_event_header",
    "axes.middleware.AxesMiddleware",  # last: it replaces the answer to a sign-in that is locked out
]

_loaders: list[Any] = [
    "django.template.loaders.filesystem.Loader",
    "django.template.loaders.app_directories.Loader",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "template_partials.loader.Loader",
                    _loaders if DEBUG else [("django.template.loaders.cached.Loader", _loaders)],
                )
            ],
            "builtins": ["template_partials.templatetags.partials", "editor.templatetags.editor"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# ── Database ─────────────────────────────────────────────────────────────────

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database(url: str) -> dict[str, Any]:
    try:
        # Not written as a URL by default: the folder may have a "%" or a "#" in its name.
        database: dict[str, Any] = (
            dict(dj_database_url.parse(url))
            if url
            else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "editor.sqlite3")}
        )
    except (ValueError, KeyError) as error:
        raise ImproperlyConfigured(
            "DATABASE_URL is not understood. Write it like postgres://user:password@host/name."
        ) from error
    database["CONN_MAX_AGE"] = 60  # seconds; connecting anew for each request costs as much as a short page
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = {
            # A deferred transaction that turns into a writer fails at once when another one wrote meanwhile.
            "transaction_mode": "IMMEDIATE",
            # Longer than any of our transactions takes; a page that waits longer tells its reader so.
            "timeout": 5,
            # FULL: what was acknowledged survives a power failure; NORMAL may lose the last commits.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        # In memory, threads would share one cache with locks of its own; tests use what people use.
        database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
    else:
        database["CONN_HEALTH_CHECKS"] = True
    return database


DATABASES = {"default": _database(_text("DATABASE_URL"))}

# ── iSCSI ────────────────────────────────────────────────────────────────────


def _portal(name: str, default: str) -> str:
    value = _text(name, default)
    host, _, port = value.rpartition(":")
    if not (re.fullmatch(r"[0-9.]+|\[[0-9a-fA-F:]+\]", host) and port.isdigit() and 1024 <= int(port) <= 65535):
        raise ImproperlyConfigured(
            f"{name} is {value!r}. Set it to an IP address and a port above 1023, such as 10.0.0.5:3260."
        )
    if not int(re.sub(r"[^0-9a-fA-F]", "", host) or "0", 16):
        raise ImproperlyConfigured(
            f"{name} is {value!r}, which is no address that a server can connect to. "
            "Set it to the one of this machine in the storage network, such as 10.0.0.5:3260."
        )
    return value


def _exporter(name: str, default: str) -> str:
    value = _text(name, default)
    # "simulated" is for tests.
    if value not in {"tgt", "none", "simulated"}:
        raise ImproperlyConfigured(
            f"{name} is {value!r}. Set it to tgt, or to none if another program serves the drives, such as LIO."
        )
    return value


def _iqn(name: str, default: str) -> str:
    value = _text(name, default)
    # RFC 3720, section 3.2.6.3.1; tgt knows names of up to 223 bytes, ours add at most 30.
    if not re.fullmatch(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9][a-z0-9.-]*(:[a-z0-9.:-]+)?", value) or len(value) > 190:
        raise ImproperlyConfigured(
            f"{name} is {value!r}. Set it to a name such as iqn.2026-11.org.example:editor, in lower case."
        )
    return value


ISCSI_EXPORTER = _exporter("ISCSI_EXPORTER", "tgt")
ISCSI_PORTAL = _portal("ISCSI_PORTAL", "127.0.0.1:13260")
IQN_PREFIX = _iqn("IQN_PREFIX", "iqn.2026-11.internal.editor")

# ── The worker, and what later packages plug into ────────────────────────────

EMBEDDED_WORKER = _yes("EMBEDDED_WORKER")
SHUTDOWN_SECONDS = _number("SHUTDOWN_SECONDS", 120, least=30, most=86400)
EVENT_DAYS = _number("EVENT_DAYS", 90, least=1, most=36500)
_key_file = _text("SECRETS_KEY_FILE")
SECRETS_KEY_FILE = Path(_key_file).expanduser().absolute() if _key_file else None

# Each answers the jobs that its package has for the worker.
RECONCILE_STEPS = [
    "snapshots.reconcile.jobs",  # first, since somebody waits for it
    "editor.replacement.jobs",
    "editor.connection.jobs",
    "editor.servers.jobs",
    "editor.deployer.jobs",
    "editor.volumes.jobs",
    "editor.export_watch.jobs",
    "editor.pools.jobs",
    "snapshots.upkeep.jobs",
]
# Each answers what is amiss with a drive: `manage.py reconcile --audit` (see editor.audit).
AUDIT_STEPS = ["snapshots.audit.look"]
# Each is called with a drive inside the transaction that deletes it.
BEFORE_DRIVE_DELETE = ["snapshots.losses.before_drive_delete"]
# Each answers what is lost with drives, by drive id (see editor.review.LostWith).
LOST_WITH_DRIVES = ["snapshots.losses.of_drives"]
# Each answers how many bytes of a pool's drives are kept for other times than now, at most.
KEPT_IN_POOL = ["snapshots.losses.kept_in_pool"]
# Answers how to sign in to the demo, or None; `serve` says it at every start.
DEMO_SIGN_IN = "snapshots.management.commands.demo.sign_in_note"

# Nothing here takes files; without handlers, none is written to the disk before the view can refuse it.
FILE_UPLOAD_HANDLERS: list[str] = []

# ── Static files ─────────────────────────────────────────────────────────────

STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_URL = "/static/" if DEBUG else f"/static/{_static_version(BASE_DIR / 'static')}/"
WHITENOISE_USE_FINDERS = True  # no collectstatic
WHITENOISE_ALLOW_ALL_ORIGINS = False


def WHITENOISE_IMMUTABLE_FILE_TEST(path: str, url: str) -> bool:  # noqa: N802 - the name of a setting
    """Whether a file may be cached for a year: all may, since the version is in their address."""
    return not DEBUG and url.startswith(STATIC_URL)


# ── People ───────────────────────────────────────────────────────────────────

SECRET_KEY = _secret("SECRET_KEY", DATA_DIR / "secret_key")
AUTH_USER_MODEL = "editor.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "infrastructures"
LOGOUT_REDIRECT_URL = "sign-in"

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]

AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "name")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Guessing is slowed down per address and account together: nobody can lock a colleague out from elsewhere.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "editor.security.account_tried"
AXES_LOCKOUT_CALLABLE = "editor.views.account.locked_out"
AXES_DISABLE_ACCESS_LOG = True  # who signed in from where, kept for ever, helps nobody here
AXES_VERBOSE = False

SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_HTTPONLY = True
# Not Strict: a link to a drive in a chat or a ticket would show the sign-in page to somebody who is signed in.
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_HTTPONLY = True  # the token travels in forms and in htmx's headers, never from the cookie by script
CSRF_FAILURE_VIEW = "editor.views.errors.csrf_failed"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _https
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
if _https:
    # Browsers accept these names only over TLS, for this very host and for all its paths.
    SESSION_COOKIE_NAME = "__Host-session"
    CSRF_COOKIE_NAME = "__Host-csrf"

MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000  # all 1000 instances of an array, ticked, and the fields around them

# ── Headers ──────────────────────────────────────────────────────────────────

# The proxy's X-Forwarded-Proto is believed by uvicorn, from FORWARDED_ALLOW_IPS only, not by a Django setting.
SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W021",  # preloading a whole domain into browsers is its owner's decision, and takes months to undo
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        # Safari before 15.4 does not count the websocket of the same host as 'self'.
        "connect-src": [SELF, f"{'wss' if _https else 'ws'}://{_public.netloc}"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# ── Language, time, log ──────────────────────────────────────────────────────

LANGUAGE_CODE = "en"
USE_I18N = False  # one language; localising each number costs a third of a long page's time
USE_TZ = True
TIME_ZONE = "UTC"
DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i:s"
TIME_FORMAT = "H:i:s"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Its own handler mails administrators, of whom there are none here.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # A refusal (404, 409, 422) is an answer, not an incident.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # scanners, one traceback each
        "axes": {"level": "WARNING"},
        "asyncio": {"level": "WARNING"},
    },
}
