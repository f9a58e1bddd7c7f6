#!/usr/bin/env python
"""Django's command line, with wrong settings reported in one line instead of a traceback."""

from __future__ import annotations

import os
import sys

from bus.errors import ConfigurationError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eventconsole.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.exit(f"Configuration: {error}")


if __name__ == "__main__":
    main()
