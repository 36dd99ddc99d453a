"""Messages by e-mail, through the operator's own mail server (BACKSTOP_MAIL_URL)."""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import ClassVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from common import clock
from common.errors import Invalid
from incidents.channels.base import Channel, Note, Undelivered

TIMEOUT_SECONDS = 10


class MailChannel(Channel):
    """A plain-text e-mail per message; the messages of one incident form one conversation.

    Address: `mailto:name@example.com`. The server is BACKSTOP_MAIL_URL: `smtp://user:password@host:587?from=a@b&tls=1`
    (STARTTLS) or `smtps://…:465` (TLS from the start). A refused recipient is not tried again.
    """

    name: ClassVar[str] = "mail"
    title: ClassVar[str] = "E-mail"
    schemes: ClassVar[frozenset[str]] = frozenset({"mailto"})

    def check(self, url: str) -> str:
        """First letter and domain: enough to recognise it, too little to harvest."""
        name, _, domain = _recipient(url).rpartition("@")
        return f"{name[0]}…@{domain}"

    def send(self, url: str, note: Note) -> None:
        """Hand it to the mail server."""
        try:
            recipient = _recipient(url)
        except Invalid as error:
            raise Undelivered(error.sentence, permanent=True) from error
        server = urlsplit(settings.BACKSTOP.mail_url)
        if server.scheme not in ("smtp", "smtps") or not server.hostname:
            raise Undelivered("No mail server is set up (BACKSTOP_MAIL_URL).", permanent=True)
        message = compose(recipient, note, sender=_sender(server))
        try:
            with _connect(server) as client:
                client.send_message(message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException) as error:
            code = _code(error)
            raise Undelivered(f"The mail server refused it with code {code}.", permanent=500 <= code < 600) from error
        except (OSError, smtplib.SMTPException) as error:
            raise Undelivered(f"The mail server did not take it ({type(error).__name__}).") from error


def compose(recipient: str, note: Note, *, sender: str) -> EmailMessage:
    """The e-mail, with headers that cannot be broken by what the note says."""
    domain = urlsplit(settings.BASE_URL).hostname or "localhost"
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = sender, recipient
    message["Subject"] = _one_line(note.subject)[:250]
    message["Date"] = format_datetime(clock.now())
    # From the key, so that a repeat after a crash is the same message to a mail program.
    message["Message-ID"] = f"<{hashlib.sha256(note.key.encode()).hexdigest()[:40]}@{domain}>"
    if note.thread:
        root = f"<{hashlib.sha256(note.thread.encode()).hexdigest()[:40]}.thread@{domain}>"
        message["In-Reply-To"] = message["References"] = root
    # Asks vacation responders to stay silent (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content("\n\n".join(part for part in (note.body.replace("\r", ""), note.link) if part) + "\n")
    return message


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _recipient(url: str) -> str:
    address = unquote(url.partition(":")[2].removeprefix("//").partition("?")[0])
    try:
        validate_email(address)
    except ValidationError:
        raise Invalid("This is not an e-mail address.", fix="Write it as mailto:name@example.com.") from None
    return address


def _sender(server: SplitResult) -> str:
    named = parse_qs(server.query).get("from", [""])[0]
    return _one_line(named) or f"backstop@{urlsplit(settings.BASE_URL).hostname or 'localhost'}"


def _connect(server: SplitResult) -> smtplib.SMTP:
    host = server.hostname or ""
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        client: smtplib.SMTP = smtplib.SMTP_SSL(host, server.port or 465, timeout=TIMEOUT_SECONDS, context=context)
    else:
        client = smtplib.SMTP(host, server.port or 587, timeout=TIMEOUT_SECONDS, local_hostname=_own_name())
        if parse_qs(server.query).get("tls", ["0"])[0] not in ("0", "no", "false"):
            client.starttls(context=context)
    if server.username:
        client.login(unquote(server.username), unquote(server.password or ""))
    return client


def _own_name() -> str:
    # smtplib's default asks DNS for our own name, which can hang for long where DNS is away.
    name = socket.gethostname()
    return name if name.isascii() and name else "localhost"


def _code(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPResponseException) -> int:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max(code for code, _ in error.recipients.values())
    return int(error.smtp_code)
