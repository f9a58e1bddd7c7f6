"""Django's settings for the tests: nothing of the developer's own environment or `.env` gets in.

Kafka and Redis point at a port where nobody listens: a test that needs them asks for the fixtures of `conftest.py`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_OURS = ("BUS_", "KAFKA_", "REDIS_")
_NAMES = ("APP_ENV", "PORT", "CORS_ORIGIN", "DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")
_folder = tempfile.mkdtemp(prefix="event-console-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)

for _name in list(os.environ):
    if _name.startswith(_OURS) or _name in (*_NAMES, "DEBUG", "LOG_LEVEL", "QUICKSTART_DIR"):
        del os.environ[_name]
os.environ |= {
    "BUS_ENV_FILE": "",
    "KAFKA_BROKERS": "127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "QUICKSTART_DIR": _folder,
    "SECRET_KEY": "only-for-tests-" * 3,
}
if os.environ.get("TEST_DATABASE_URL"):
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]

from eventconsole.settings import *  # noqa: E402, F403
from eventconsole.settings import DATABASES, INSTALLED_APPS  # noqa: E402

INSTALLED_APPS = [*INSTALLED_APPS, "tests.shop"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, as in production: SQLite in memory locks in another way, and other processes couldn't open it.
    DATABASES["default"]["TEST"] = {"NAME": os.path.join(_folder, "test.sqlite3")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
