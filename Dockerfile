FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.lock .
# Wheels only: a package that would have to be compiled is refused here instead of failing half-way.
RUN /opt/venv/bin/pip install --only-binary=:all: --require-hashes -r requirements.lock

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/event-console --shell /usr/sbin/nologin console
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY bus bus
COPY eventconsole eventconsole
COPY templates templates
COPY static static
# What has to be kept between starts, the secret key and SQLite's file, is in the home folder: make it a volume.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BUS_ENV_FILE= \
    QUICKSTART_DIR=/var/lib/event-console
RUN APP_ENV=production SECRET_KEY=used-only-while-this-image-is-built-0000 \
    python manage.py collectstatic --noinput --verbosity 0
USER console
VOLUME /var/lib/event-console
EXPOSE 3007
CMD ["daphne", "-b", "0.0.0.0", "-p", "3007", "eventconsole.asgi:application"]
