"""A Django app that the tests run workers with: its topics, groups and handlers come from SHOP_PLAN."""
