"""Django's settings. What can be set comes from the environment: see `eventconsole.conf` and `.env.example`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bus import conf as bus_conf
from eventconsole import conf
from eventconsole.logs import logging_settings

BASE_DIR = conf.BASE_DIR
_env = conf.current()
# A wrong setting of the bus is reported when a process starts, not when it first publishes.
bus_conf.current()

SECRET_KEY = _env.key()
DEBUG = _env.debug
ALLOWED_HOSTS = [*conf.LOOPBACK, *_env.allowed_hosts]
CSRF_TRUSTED_ORIGINS = list(_env.trusted_origins)

# The demo may be left out of a copy of the project.
_demo = ["eventconsole.demo"] if _env.with_demo and (BASE_DIR / "eventconsole/demo/__init__.py").exists() else []
INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "corsheaders",
    "ninja",
    "bus",
    "eventconsole",
    *_demo,
    *_env.extra_apps,
]

# Of the pages only: the API has a chain of its own (eventconsole.api.asgi), static files have none.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Every page asks for a login unless it says otherwise.
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "eventconsole.policy.ContentSecurityPolicy",
]

ROOT_URLCONF = "eventconsole.urls"
ASGI_APPLICATION = "eventconsole.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "eventconsole.pages.frame.frame",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {"default": _env.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _env.has_secure_cookies
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = _env.hsts_seconds
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _env.behind_proxy else None
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = _env.max_body_bytes

CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_ALL_ORIGINS = _env.cors_origin == ("*",)
CORS_ALLOWED_ORIGINS = [] if _env.cors_origin in (("*",), ("none",)) else list(_env.cors_origin)
CORS_ALLOW_METHODS = ["GET", "OPTIONS", "POST"]
CORS_EXPOSE_HEADERS = ["Retry-After"]

LANGUAGE_CODE = "en-us"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
# uPlot comes out of an installed package: nobody's code is copied into this repository.
_uplot = Path(str(find_spec("youplot").origin)).parent / "vendor"  # type: ignore[union-attr]
STATICFILES_DIRS = [BASE_DIR / "static", ("uplot", _uplot)]
if _env.is_production:
    STATIC_ROOT = BASE_DIR / "staticfiles"
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
else:
    # Files are served from where they are written, so nothing has to be collected first.
    WHITENOISE_USE_FINDERS = True
    WHITENOISE_AUTOREFRESH = True

LOGGING_CONFIG = "eventconsole.logs.configure"
LOGGING = logging_settings(as_json=_env.is_production, level=_env.log_level)
