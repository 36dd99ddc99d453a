"""Wiring: settings, addresses, the Celery app and the server entry points.

Owns: how the rooms are put together in one process or in many.
Knows: every room.
Does not know: any rule of the domain; nothing imports it but Django and Celery themselves.
"""
