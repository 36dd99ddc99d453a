"""Messages through Apprise to services of well-known vendors."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from common.errors import Invalid
from common.secrets import redact
from incidents.channels.base import Channel, Note, Undelivered

# Only schemes whose host is the vendor's own: whoever may add an address must not make this server call any host.
VENDORS = {
    "slack": "Slack",
    "discord": "Discord",
    "tgram": "Telegram",
    "pagerduty": "PagerDuty",
    "opsgenie": "Opsgenie",
    "pover": "Pushover",
    "ntfy": "ntfy.sh",
    "ntfys": "ntfy.sh",
    "gchat": "Google Chat",
    "webex": "Webex",
    "wxteams": "Webex",
    "twilio": "Twilio",
    "signl4": "SIGNL4",
}
# Parameters that every Apprise address takes and that would let one address hold a worker or leave the vendor's host.
_FORCED = {"cto": "4", "rto": "4", "retry": "0", "wait": "0", "redirect": "no", "verify": "yes", "overflow": "truncate"}


class AppriseChannel(Channel):
    """Chat, push and text messages of well-known vendors, by an Apprise address.

    Address: the vendor's Apprise form, e.g. `slack://tokenA/tokenB/tokenC`, `tgram://bot-token/chat-id`,
    `pover://user@token`, `ntfy://topic` (ntfy.sh only). Forms that take any host (json, form, syslog, mattermost …) are
    refused; for your own programs use the webhook channel.
    """

    name: ClassVar[str] = "apprise"
    title: ClassVar[str] = "Chat, push or text message"
    schemes: ClassVar[frozenset[str]] = frozenset(VENDORS)

    def check(self, url: str) -> str:
        """Apprise's own masked form."""
        return str(_carrier(url).url(privacy=True)).partition("?")[0][:120]

    def send(self, url: str, note: Note) -> None:
        """Hand it to Apprise; it says only yes or no, so a no is tried again."""
        try:
            carrier = _carrier(url)
        except Invalid as error:
            raise Undelivered(error.sentence, permanent=True) from error
        body = f"{note.body}\n{note.link}" if note.link else note.body
        try:
            carried = carrier.notify(title=note.subject, body=body)
        # A plug-in of a foreign library: whatever it raises, the message was not taken.
        except Exception as error:
            raise Undelivered(f"{_vendor(url)} failed: {redact(type(error).__name__)}.") from error
        if not carried:
            raise Undelivered(f"{_vendor(url)} did not take the message.")


def _vendor(url: str) -> str:
    return VENDORS.get(url.partition(":")[0].lower(), "The vendor")


def _carrier(url: str) -> Any:
    scheme = url.partition(":")[0].lower()
    if scheme not in VENDORS:
        raise Invalid(f"Addresses of the form {scheme}:// are not allowed here.", fix=f"Known: {', '.join(VENDORS)}.")
    import apprise  # noqa: PLC0415  importing it takes most of a second, and only deliveries need it

    address, _, query = url.partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key.lower() not in _FORCED]
    asset = apprise.AppriseAsset(async_mode=False, storage_mode="memory")
    carrier: Any = apprise.Apprise.instantiate(f"{address}?{urlencode(kept + list(_FORCED.items()))}", asset=asset)
    if carrier is None:
        raise Invalid(
            f"{_vendor(url)} does not know this form of address.",
            fix="Copy it from the vendor's page of the Apprise documentation; each part counts.",
        )
    if scheme in ("ntfy", "ntfys") and carrier.mode != "cloud" and carrier.host != "ntfy.sh":
        raise Invalid("Only topics on ntfy.sh can be told by this form.", fix="Write it as ntfy://topic.")
    return carrier
