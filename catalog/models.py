"""People, teams, looked-after services, their versions and changes, and connections to outer systems."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q

# How far runs may go by themselves on a service.
AUTONOMY = [
    ("observe", "observe: checks run, nothing is proposed"),
    ("suggest", "suggest: actions are shown, people do them elsewhere"),
    ("approve", "approve: every action that changes something asks first"),
    ("auto_reversible", "auto-reversible: what can be taken back goes without asking"),
]
TIERS = [(1, "1: revenue or safety"), (2, "2: important"), (3, "3: internal")]


class Team(models.Model):
    """Who looks after services together; every incident, endpoint and connection belongs to one."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    four_eyes = models.BooleanField(default=False)
    default_owner = models.ForeignKey("User", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    version = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class Users(BaseUserManager["User"]):
    """Users by name or e-mail address."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username__iexact=username)

    def by_login(self, name: str) -> User | None:
        """Whom somebody means who types this at the sign-in page; user names hold no @, so both cannot fit."""
        return self.filter(Q(username__iexact=name) | Q(email__iexact=name)).first()


class User(AbstractBaseUser):
    """A person who signs in, by user name or e-mail address."""

    username = models.SlugField(max_length=40, unique=True)
    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    is_org_admin = models.BooleanField(default=False)
    shortcuts_off = models.BooleanField(default=False)
    compact_rows = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField()

    objects: ClassVar[Users] = Users()
    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        ordering = ["username"]

    def __str__(self) -> str:
        return self.username

    @property
    def label(self) -> str:
        """The name to show: the full name if there is one, else the user name."""
        return self.full_name or self.username

    def get_full_name(self) -> str:
        return self.label


class Presence(models.Model):
    """Who has a page of something open (catalog.presence); `key` as in its address."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=12)
    key = models.CharField(max_length=40)
    since = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "key", "user"], name="one_presence_per_reader")]


class Membership(models.Model):
    """A person's roles in one team; roles add up (catalog.permissions.ROLES)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    roles = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team"], name="one_membership_per_team")]


class Group(models.Model):
    """A named group of a team's people, written `role:<slug>` in runbooks; `oncall` is seeded."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="groups")
    slug = models.SlugField(max_length=40)
    members = models.ManyToManyField(User, related_name="oncall_groups", blank=True)

    class Meta:
        ordering = ["slug"]
        constraints = [models.UniqueConstraint(fields=["team", "slug"], name="one_group_per_team_and_slug")]


class LoginLink(models.Model):
    """A one-time way in; only the hash is kept, and only a POST uses it up."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="login_links")
    token_sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)


class ApiToken(models.Model):
    """A token for programs: shown once, kept as a hash, with scopes and an end."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, unique=True)
    token_sha256 = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]


class Address(models.Model):
    """Where a person or a team is told things: an Apprise-style address, encrypted because it holds credentials."""

    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="addresses")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="addresses")
    label = models.CharField(max_length=80)
    channel = models.CharField(max_length=40)
    url_encrypted = models.BinaryField()
    url_hint = models.CharField(max_length=120)
    last_ok_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["label"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True, team__isnull=False) | Q(user__isnull=False, team__isnull=True),
                name="an_address_is_a_persons_or_a_teams",
            )
        ]


class Connection(models.Model):
    """How to reach one outer system: public settings in `config`, secrets encrypted and write-only."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="connections")
    slug = models.SlugField(max_length=40)
    connector = models.CharField(max_length=40)
    config = models.JSONField(default=dict)
    secrets_encrypted = models.BinaryField(default=bytes)
    checked_at = models.DateTimeField(null=True, blank=True)
    healthy = models.BooleanField(null=True)
    health = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["slug"]
        constraints = [models.UniqueConstraint(fields=["team", "slug"], name="one_connection_per_team_and_slug")]

    def __str__(self) -> str:
        return self.slug


class Service(models.Model):
    """A looked-after AI service: who owns it, how it is measured, what it depends on."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="services")
    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    tier = models.PositiveSmallIntegerField(default=2, choices=TIERS)
    dashboard_url = models.URLField(max_length=500, blank=True)
    default_owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    depends_on = models.ManyToManyField("self", symmetrical=False, related_name="needed_by", blank=True)
    # How a rollback is carried out here: {"connection": slug, "flag": name, ...}; see actions/model_rollback.py.
    rollback = models.JSONField(default=dict)
    # How versions are scored here: {"connection": slug, "path": ..., "set": slug}; see checks/eval_compare.py.
    evaluation = models.JSONField(default=dict)
    # How far runs may go by themselves here (runbooks/autonomy.py); the shipped way is that people approve.
    autonomy = models.CharField(max_length=16, choices=AUTONOMY, default="approve", db_default="approve")
    source_file = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class KillSwitch(models.Model):
    """One time that all effects were stopped at once, everywhere; while one is engaged nothing is sent."""

    engaged = models.BooleanField(default=True)
    pulled_at = models.DateTimeField()
    pulled_by = models.CharField(max_length=120)
    reason = models.CharField(max_length=500)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["engaged"], condition=models.Q(engaged=True), name="one_kill_switch_at_a_time"
            )
        ]


class Secret(models.Model):
    """A value that steps of a team use by its name (`{secret: name}`) and nobody may read: encrypted, write-only."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="secrets")
    name = models.SlugField(max_length=40)
    value_encrypted = models.BinaryField()
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=120)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="one_secret_per_team_and_name")]


class Signal(models.Model):
    """A named measurement of a service (`error_rate`, `latency` …) bound to a connection and its query."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="signals")
    name = models.SlugField(max_length=40)
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="signals")
    query = models.TextField()
    unit = models.CharField(max_length=20, blank=True)
    # Which way is worse: "up" (errors, latency, cost) or "down" (accuracy).
    worse = models.CharField(max_length=4, choices=[("up", "up"), ("down", "down")], default="up")
    # How two windows are compared: rate (queries for bad and all), mean, quantile; see checks/metric_compare.py.
    compare = models.JSONField(default=dict)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["service", "name"], name="one_signal_per_service_and_name")]


class Picture(models.Model):
    """What a signal read over a window, kept as it was then: pages and postmortems show it without asking the source.

    It stands alone: the signal's binding may change or go. `key` says what it is of: empty for the service's last
    hours, `INC-42` for an incident's window. Values lie `step_seconds` apart from `start_at` to `end_at`, None where
    there is none. `state` is what the last attempt found; what was read before stays when an attempt fails.
    """

    STATES: ClassVar[list[tuple[str, str]]] = [
        ("ok", "measured"),
        ("stale", "the values ended"),
        ("empty", "no such series"),
        ("not_a_number", "no number"),
        ("many_series", "several series"),
        ("failed", "could not be measured"),
    ]

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="pictures")
    name = models.SlugField(max_length=40)
    key = models.CharField(max_length=40, blank=True)
    source = models.CharField(max_length=40)
    query = models.TextField()
    unit = models.CharField(max_length=20, blank=True)
    worse = models.CharField(max_length=4, default="up")
    start_at = models.DateTimeField(null=True, blank=True)
    end_at = models.DateTimeField(null=True, blank=True)
    step_seconds = models.PositiveIntegerField(default=0)
    values = models.JSONField(default=list)
    # What is usual then: {"start": unix, "step": seconds, "low": [...], "mid": [...], "high": [...], "words": ...}.
    band = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=STATES, blank=True)
    fault = models.CharField(max_length=400, blank=True)
    # When it was last read, last tried, and until when a worker is at it.
    read_at = models.DateTimeField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["service", "key", "name"], name="one_picture_per_key_and_name")]


class ModelVersion(models.Model):
    """A version that serves, has served or is kept ready."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="versions")
    version = models.CharField(max_length=120)
    state = models.CharField(
        max_length=10, choices=[("serving", "serving"), ("kept", "kept"), ("canary", "canary"), ("retired", "retired")]
    )
    served_from = models.DateTimeField(null=True, blank=True)
    served_to = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-served_from", "-id"]
        constraints = [models.UniqueConstraint(fields=["service", "version"], name="one_row_per_model_version")]


class Change(models.Model):
    """Something that was changed: code, model, prompt, data pipeline, library or hardware, upstream."""

    KINDS: ClassVar[list[tuple[str, str]]] = [
        ("code", "code"),
        ("model", "model"),
        ("prompt", "prompt"),
        ("data_pipeline", "data pipeline"),
        ("library_hardware", "library or hardware"),
        ("upstream", "upstream"),
    ]

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="changes")
    service = models.ForeignKey(Service, null=True, blank=True, on_delete=models.SET_NULL, related_name="changes")
    kind = models.CharField(max_length=20, choices=KINDS)
    summary = models.CharField(max_length=300)
    subject = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=120, blank=True)
    author = models.CharField(max_length=120, blank=True)
    environment = models.CharField(max_length=60, blank=True)
    link = models.URLField(max_length=500, blank=True)
    labels = models.JSONField(default=dict)
    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=200, blank=True)
    # Set when Backstop itself made this change, so that a rollback is not taken for a suspicious deployment.
    effect_key = models.CharField(max_length=64, blank=True)
    occurred_at = models.DateTimeField(db_index=True)
    received_at = models.DateTimeField()

    class Meta:
        ordering = ["-occurred_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "source", "external_id"], condition=~Q(external_id=""), name="one_change_per_source_id"
            )
        ]
        indexes = [models.Index(fields=["service", "-occurred_at"])]
