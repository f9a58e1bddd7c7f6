"""The Django project: HTTP API, pages and sockets in front of the bus."""
