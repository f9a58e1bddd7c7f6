"""Addresses of single things in templates."""

from __future__ import annotations

from django import template

from eventconsole import addresses

register = template.Library()

register.filter("event_url", lambda event_id: addresses.event_url(str(event_id)))
register.filter("topic_url", lambda topic: addresses.topic_url(str(topic)))
register.filter("group_url", lambda group: addresses.group_url(str(group)))
