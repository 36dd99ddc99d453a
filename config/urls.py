"""Addresses, and what answers when none fits."""

from web.urls import urlpatterns

__all__ = ["handler400", "handler403", "handler404", "handler429", "handler500", "urlpatterns"]

handler400 = "web.problems.bad_request"
handler403 = "web.problems.forbidden"
handler404 = "web.problems.not_found"
# allauth looks for this one when somebody guesses passwords too fast.
handler429 = "web.problems.throttled"
handler500 = "web.problems.server_error"
