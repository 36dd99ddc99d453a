"""Django's settings, made from config.environment in the order in which an operator looks for them."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from common.secrets import redact_event
from config.environment import CHECKOUT, load

BACKSTOP = load()
EMBEDDED = BACKSTOP.embedded
BACKSTOP_UNSAFE = BACKSTOP.faults()

# --- who may call us -------------------------------------------------------------------------------------------------
SECRET_KEYS = BACKSTOP.keys() or ["no-key-and-nothing-is-served"]
SECRET_KEY, SECRET_KEY_FALLBACKS = SECRET_KEYS[0], SECRET_KEYS[1:]
DEBUG = False
BASE_URL = BACKSTOP.base_url.rstrip("/")
_base = urlsplit(BASE_URL)
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", _base.hostname or "localhost"]
_https = _base.scheme == "https"
CSRF_FAILURE_VIEW = "web.problems.csrf_refused"
CSRF_TRUSTED_ORIGINS = [f"{_base.scheme}://{_base.netloc}"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BACKSTOP.trusted_proxies else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_NAME = "__Host-session" if _https else "session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 30 * 24 * 3600
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31536000 if _https else 0
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- what is installed -----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "catalog.apps.CatalogConfig",
    "incidents.apps.IncidentsConfig",
    "evaluations.apps.EvaluationsConfig",
    "runbooks.apps.RunbooksConfig",
    "web.apps.WebConfig",
    "config.apps.ConfigConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "django_htmx",
]
MIDDLEWARE = [
    "web.middleware.request_id",
    "web.middleware.Squeeze",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "web.middleware.Policy",
    "web.middleware.domain_errors",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
# What `manage.py up` starts beside the server; found by name, because nothing imports the wiring.
EMBEDDED_ENGINE = "config.embedded"
# Through what a change wakes the streams that another process serves (common/live.py).
LIVE_RELAY = "" if EMBEDDED else "config.relay"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [CHECKOUT / "templates"],
        "OPTIONS": {
            "environment": "web.templating.environment",
            "context_processors": [
                "django.contrib.messages.context_processors.messages",
                "web.templating.page",
            ],
        },
    },
    # allauth renders a few pages of its own that we do not override; it needs the other engine to be there.
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
]

# --- the database ----------------------------------------------------------------------------------------------------
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database(url: str) -> dict[str, Any]:
    """PostgreSQL with Django's psycopg pool, or SQLite in WAL with immediate transactions (docs/decisions/0003)."""
    if not url:
        return {
            "ENGINE": "config.sqlite",
            "NAME": BACKSTOP.data_dir / "backstop.sqlite3",
            # Web and worker threads live as long as the process (config/bridge.py); so may their connections.
            "CONN_MAX_AGE": None,
            # A file, so that the threads of a test see one database; a fixed one can be kept with --reuse-db.
            "TEST": {"NAME": os.environ.get("BACKSTOP_TEST_SQLITE") or BACKSTOP.data_dir / "test.sqlite3"},
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16000;",
            },
        }
    parts = urlsplit(url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.get("host", "")) or parts.hostname or "",
        "PORT": str(parts.port or query.get("port", "")),
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            # Whose session it is, for whoever looks into pg_stat_activity; `restore` asks whether others are there.
            "application_name": f"backstop@{socket.gethostname()}:{os.getpid()}"[:63],
            # What a session is asked again and again PostgreSQL reads and plans once (docs/decisions/0020).
            "server_side_binding": True,
            "prepare_threshold": BACKSTOP.prepare_after or None,
            # By default the pool doubles its pause while PostgreSQL is away, so that it comes back as late as it was
            # long gone. Giving up after the seconds that a request waits keeps every pause under 5 s.
            "pool": {"min_size": 1, "max_size": 10, "timeout": 10, "reconnect_timeout": 10},
            "options": f"-c statement_timeout={os.environ.get('BACKSTOP_STATEMENT_TIMEOUT', '30s')} "
            "-c idle_in_transaction_session_timeout=60s -c timezone=UTC",
        },
    }


DATABASES = {"default": _database(BACKSTOP.database_url)}
# Sessions and login limits live in the database, so that losing Redis breaks no login.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache_table"}}

# --- people ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "catalog.User"
AUTHENTICATION_BACKENDS = ["web.accounts.Backend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_ADAPTER = "web.accounts.Adapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = None  # the sign-in page asks
ACCOUNT_FORMS = {"login": "web.accounts.SignInForm"}
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    # The key of login_failed is name and address, that of login_failed_anywhere the name alone (web.accounts.Adapter).
    "login_failed": "10/m/ip,5/5m/key",
    "login_failed_anywhere": "30/10m/key",
    "reauthenticate": "10/m/user",
    "change_password": "10/m/user",
}
ACCOUNT_LOGOUT_ON_GET = False

# --- words and files -------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
FORM_RENDERER = "django.forms.renderers.Jinja2"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
# Where `collectstatic` puts the files with hashed names that production serves (web.operate.prepare looks there).
STATIC_ROOT = BACKSTOP.data_dir / "static"
WHITENOISE_USE_FINDERS = EMBEDDED
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if EMBEDDED
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# The ASGI wrapper and nginx refuse more before Django reads a byte (config/limits.py).
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

# --- saying what happens ---------------------------------------------------------------------------------------------
_console = (BACKSTOP.log_format or ("console" if EMBEDDED else "json")) == "console"
# Plain tracebacks, also where `rich` is installed: its own show the values of variables, and those may be secrets.
_CONSOLE = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_event,
                _CONSOLE if _console else structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": [
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        }
    },
    "filters": {"redact": {"()": "common.secrets.RedactingFilter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured", "filters": ["redact"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "celery": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        # It warns of every try; whoever needed the connection says so once (web.problems, the runner, manage.py).
        "psycopg.pool": {"level": "ERROR"},
        "uvicorn.access": {"level": "WARNING"},
        "uvicorn.error": {"level": "WARNING"},
    },
}
