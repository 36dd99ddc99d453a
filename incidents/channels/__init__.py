"""Ways of telling people. To add one: a file beside these, and a line below."""

from __future__ import annotations

from urllib.parse import urlsplit

from common.errors import Invalid
from common.registry import Registry
from incidents.channels.apprise import AppriseChannel
from incidents.channels.base import Channel
from incidents.channels.mail import MailChannel
from incidents.channels.webhook import WebhookChannel

CHANNELS: Registry[Channel] = Registry("channel", [MailChannel(), WebhookChannel(), AppriseChannel()])


def channel_for(url: str) -> Channel:
    """The channel that carries to this address; Invalid names the address forms that are known."""
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise Invalid("An address has no spaces or control characters.", fix="Copy it again, in one piece.")
    scheme = urlsplit(url).scheme.lower() if "://" in url else url.partition(":")[0].lower()
    for channel in CHANNELS:
        if scheme in channel.schemes:
            return channel
    known = ", ".join(sorted(scheme for channel in CHANNELS for scheme in channel.schemes))
    raise Invalid(
        f"Backstop sends nothing to {scheme or 'such'} addresses.",
        fix=f"Write one that starts with one of: {known}. See the guide's page on telling people.",
    )
