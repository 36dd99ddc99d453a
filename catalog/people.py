"""People and teams: accounts, roles, on-call groups, login links, tokens for programs, addresses to tell them at."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Q

from catalog import permissions
from catalog.actors import ENGINE, Actor, program
from catalog.models import Address, ApiToken, Group, LoginLink, Membership, Team, User
from catalog.permissions import ROLES, SCOPES, Permission
from common import clock
from common.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from common.secrets import encrypt, fingerprint, new_token

log = logging.getLogger(__name__)

LINK_LIFETIME = timedelta(hours=1)
# promises.md §5c: a token ends within a year, so that a forgotten one stops by itself.
LONGEST_TOKEN_DAYS = 365
# Writing the row at each call of a busy program would make every read a write.
LAST_USED_EVERY = timedelta(minutes=1)
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?\Z")
# Words that addresses use where a team's name could stand.
_RESERVED = frozenset({"new"})
_TOKEN = re.compile(r"bs_([0-9a-f]{8})_[A-Za-z0-9_-]{20,80}\Z")


@dataclass(frozen=True)
class Invited:
    """A person who was taken into a team, and the token of a login link if the account is new."""

    user: User
    link: str


class LinkSpent(DomainError):
    """The login link was used before, or its hour is over."""

    status = 410
    code = "link_spent"


class TokenRefused(Forbidden):
    """The token is unknown, expired or revoked, or its owner's account is switched off; told in the same words."""

    status = 401
    code = "unauthorized"


# --- accounts and teams ----------------------------------------------------------------------------------------------
def create_user(
    *, username: str, email: str, full_name: str = "", password: str | None = None, is_org_admin: bool = False
) -> User:
    """Make an account; without a password its owner comes in by login link. Invalid with `fields`, or Conflict."""
    username, email = username.strip().lower(), email.strip().lower()
    if not _SLUG.match(username):
        raise Invalid(
            f"The user name {username[:40]!r} cannot be used.",
            fix="Use 1 to 40 small letters, digits, hyphens or underscores.",
            fields={"username": "Small letters, digits, hyphens and underscores only."},
        )
    try:
        validate_email(email)
    except ValidationError:
        raise Invalid(
            f"{email[:80]!r} is not an e-mail address.",
            fix="Give an address such as sam@example.com.",
            fields={"email": "Not an e-mail address."},
        ) from None
    user = User(username=username, email=email, full_name=full_name.strip()[:120], is_org_admin=is_org_admin)
    user.created_at = clock.now()
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            f"There is already an account named {username} or with the address {email}.",
            fix="Use the existing account, or another name and address.",
        ) from None
    return user


@transaction.atomic
def create_team(*, slug: str, name: str, first: User | None = None, actor: Actor = ENGINE) -> Team:
    """Make a team with its on-call group; an org admin does it. Its `first` person holds every role in it."""
    _require_org_admin(actor, "makes teams")
    slug = slug.strip().lower()
    if not _SLUG.match(slug) or slug in _RESERVED:
        raise Invalid(
            f"The team name {slug[:40]!r} cannot be used in addresses.",
            fix="Use 1 to 40 small letters, digits, hyphens or underscores.",
            fields={"slug": "Small letters, digits, hyphens and underscores only."},
        )
    try:
        with transaction.atomic():
            team = Team.objects.create(slug=slug, name=name.strip()[:120] or slug, created_at=clock.now())
            Group.objects.create(team=team, slug="oncall")
    except IntegrityError:
        raise Conflict(f"There is already a team {slug}.", fix="Use that team, or another name.") from None
    if first is not None:
        Membership.objects.create(user=first, team=team, roles=list(ROLES))
        add_to_group(first, team=team, group="oncall")
    # What the first start makes by itself is no news: the first line on a newcomer's screen is the data folder.
    if actor.user is not None:
        log.info("team made", extra={"team": slug, "person": first and first.username, "actor": actor.label})
    return team


@transaction.atomic
def change_team(team: Team, *, name: str, four_eyes: bool, default_owner: User | None, actor: Actor) -> Team:
    """Change what a team is called, whether high risk wants a second person, and who owns what nobody owns."""
    permissions.require(actor, Permission.CONFIGURE, team)
    if not name.strip():
        raise Invalid("A team needs a name.", fix="Give it one.", fields={"name": "Missing."})
    if default_owner is not None and not permissions.roles_of(default_owner, team):
        sentence = f"{default_owner.label} is not a member of team {team.slug}."
        raise Invalid(sentence, fix="Choose a member.", fields={"default_owner": sentence})
    team.name, team.four_eyes, team.default_owner = name.strip()[:120], four_eyes, default_owner
    team.save(update_fields=["name", "four_eyes", "default_owner"])
    log.info("team changed", extra={"team": team.slug, "four_eyes": four_eyes, "actor": actor.label})
    return team


def _require_org_admin(actor: Actor, does: str) -> None:
    if actor.user is not None and not permissions.can(actor, Permission.ORG_ADMIN):
        raise Forbidden(f"Only an org admin {does}.", fix="Ask an org admin.")


@transaction.atomic
def first_user() -> User:
    """User `admin` with every role in team `default` and in its on-call group; idempotent, keeps later changes."""
    team = Team.objects.filter(slug="default").first() or create_team(slug="default", name="Default")
    user = User.objects.filter(username="admin").first()
    if user is None:
        user = create_user(username="admin", email="admin@localhost", full_name="Admin", is_org_admin=True)
        Membership.objects.create(user=user, team=team, roles=list(ROLES))
        add_to_group(user, team=team, group="oncall")
    return user


@transaction.atomic
def set_roles(user: User, *, team: Team, roles: list[str], actor: Actor) -> Membership:
    """Give a person exactly these roles in a team; no roles means no longer a member.

    By a team admin or an org admin, never for oneself, and never so that a team is left without an admin.
    """
    wanted = [role for role in ROLES if role in roles]
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise Invalid(
            f"There is no role {unknown[0]!r}.",
            fix=f"The roles are: {', '.join(ROLES)}.",
            fields={"roles": f"Unknown: {', '.join(unknown)}."},
        )
    # One lock per team, so that two admins who remove each other at once cannot both succeed.
    team = Team.objects.select_for_update().get(pk=team.pk)
    if actor.user is not None:
        permissions.require(actor, Permission.MEMBERS, team)
        if actor.user.pk == user.pk:
            raise Forbidden("Nobody sets their own roles.", fix="Another admin of the team, or an org admin, does it.")
    membership, _ = Membership.objects.get_or_create(user=user, team=team)
    losing_admin = "admin" in membership.roles and "admin" not in wanted
    if losing_admin and not _other_admin(team, user):
        raise Conflict(f"{user.label} is the last admin of team {team.slug}.", fix="Make somebody else an admin first.")
    membership.roles = wanted
    membership.save(update_fields=["roles"])
    if not wanted:
        for group in team.groups.all():
            group.members.remove(user)
    log.info("roles set", extra={"team": team.slug, "person": user.username, "roles": wanted, "actor": actor.label})
    return membership


def _other_admin(team: Team, user: User) -> bool:
    others = Membership.objects.filter(team=team, user__is_active=True).exclude(user=user)
    return any("admin" in membership.roles for membership in others)


def add_to_group(user: User, *, team: Team, group: str) -> None:
    """Put a member of the team into one of its groups, which is made if it is new."""
    if not permissions.roles_of(user, team):
        raise Invalid(f"{user.label} is not a member of team {team.slug}.", fix="Give them a role in the team first.")
    row, _ = Group.objects.get_or_create(team=team, slug=group)
    row.members.add(user)


@transaction.atomic
def set_groups(user: User, *, team: Team, groups: list[str], actor: Actor) -> None:
    """Put a member into exactly these groups of the team; a group that is new is made."""
    permissions.require(actor, Permission.MEMBERS, team)
    wrong = [group for group in groups if not _SLUG.match(group)]
    if wrong:
        sentence = f"{wrong[0][:40]!r} cannot be the name of a group."
        raise Invalid(sentence, fix="Small letters, digits, hyphens and underscores.", fields={"groups": sentence})
    for row in team.groups.exclude(slug__in=groups):
        row.members.remove(user)
    for group in groups:
        add_to_group(user, team=team, group=group)


@transaction.atomic
def invite(
    *, username: str, email: str, full_name: str, team: Team, roles: list[str], groups: list[str], actor: Actor
) -> Invited:
    """Take a person into a team: one who has this account already, or a new one, who comes in by the link."""
    permissions.require(actor, Permission.MEMBERS, team)
    if not roles:
        raise Invalid("A member needs a role.", fix="Choose at least one.", fields={"roles": "Choose at least one."})
    user = User.objects.filter(username=username.strip().lower(), email__iexact=email.strip(), is_active=True).first()
    known = user is not None
    if user is None:
        user = create_user(username=username, email=email, full_name=full_name)
    elif permissions.roles_of(user, team):
        raise Conflict(f"{user.label} is in team {team.slug} already.", fix="Change their roles instead.")
    set_roles(user, team=team, roles=roles, actor=actor)
    set_groups(user, team=team, groups=groups, actor=actor)
    log.info("person invited", extra={"team": team.slug, "person": user.username, "actor": actor.label})
    return Invited(user, "" if known else new_login_link(user))


@transaction.atomic
def set_active(user: User, *, active: bool, actor: Actor) -> User:
    """Switch an account off or on. Off: its sessions, links and tokens are refused from the next request on."""
    _require_org_admin(actor, "switches accounts off and on")
    if actor.user is not None and actor.user.pk == user.pk:
        raise Forbidden("Nobody switches off their own account.", fix="Another org admin does it.")
    user.is_active = active
    user.save(update_fields=["is_active"])
    log.info("account switched", extra={"person": user.username, "active": active, "actor": actor.label})
    return user


@transaction.atomic
def set_org_admin(user: User, *, org_admin: bool, actor: Actor) -> User:
    """Make somebody an org admin, or no longer one; never oneself, so one is always left."""
    _require_org_admin(actor, "makes org admins")
    if actor.user is not None and actor.user.pk == user.pk:
        raise Forbidden("Nobody changes this about themselves.", fix="Another org admin does it.")
    user.is_org_admin = org_admin
    user.save(update_fields=["is_org_admin"])
    log.info("org admin set", extra={"person": user.username, "org_admin": org_admin, "actor": actor.label})
    return user


# --- login links -----------------------------------------------------------------------------------------------------
def new_login_link(user: User) -> str:
    """The token of a one-time way in, good for one hour; only its hash is kept."""
    if not user.is_active:
        raise Forbidden(f"The account {user.username} is switched off.", fix="An org admin can switch it on.")
    token = new_token()
    now = clock.now()
    LoginLink.objects.create(user=user, token_sha256=fingerprint(token), created_at=now, expires_at=now + LINK_LIFETIME)
    return token


def link_for(user: User, *, actor: Actor) -> str:
    """A login link for somebody else, whose hands it could come into instead of theirs.

    An org admin makes one for anybody. A team admin only for one who never signed in and is in none but the admin's own
    teams: whoever could make a link for every approver could approve everything alone.
    """
    if not permissions.can(actor, Permission.ORG_ADMIN):
        rows = permissions.seeing(user).select_related("team")
        teams = [row.team for row in rows]
        mine = [team for team in teams if permissions.can(actor, Permission.MEMBERS, team)]
        if not mine:
            raise NotFound("There is no such person in your teams.", fix="Look at the list of people.")
        if len(mine) < len(teams) or user.last_login is not None or user.is_org_admin:
            raise Forbidden(
                f"{user.label} has signed in before, or is in a team of others.",
                fix="An org admin makes a new link for them, or an operator with `python manage.py login_link`.",
            )
    log.info("login link made", extra={"person": user.username, "actor": actor.label})
    return new_login_link(user)


def _link(token: str) -> LoginLink:
    link = LoginLink.objects.select_related("user").filter(token_sha256=fingerprint(token)).first()
    again = "Ask for a new one: `python manage.py login_link` prints it, or an admin sends it."
    if link is None or not link.user.is_active:
        raise NotFound("This login link is not known here.", fix=again)
    if link.used_at is not None:
        raise LinkSpent("This login link was used already.", fix=again)
    if link.expires_at <= clock.now():
        raise LinkSpent("This login link is over an hour old.", fix=again)
    return link


def peek_login_link(token: str) -> User:
    """Whose link it is, without using it up: mail scanners open links too. NotFound or LinkSpent."""
    return _link(token).user


def use_login_link(token: str) -> User:
    """Use the link up and give its person; of two at once, one gets LinkSpent."""
    link = _link(token)
    taken = LoginLink.objects.filter(pk=link.pk, used_at__isnull=True).update(used_at=clock.now())
    if not taken:
        raise LinkSpent("This login link was used already.", fix="Ask for a new one.")
    log.info("login link used", extra={"person": link.user.username})
    return link.user


# --- tokens for programs ---------------------------------------------------------------------------------------------
def create_token(user: User, *, name: str, scopes: list[str], days: int = 90) -> tuple[ApiToken, str]:
    """A token that acts with its owner's roles, narrowed by scopes; its text is told once and never kept."""
    name = name.strip()
    unknown = sorted(set(scopes) - set(SCOPES) - {"*"})
    faults = {}
    if not 1 <= len(name) <= 80:
        faults["name"] = "1 to 80 characters, so that its owner knows it again."
    if unknown or not scopes:
        faults["scopes"] = f"Choose from {', '.join(SCOPES)}, or * for all."
    if not 1 <= days <= LONGEST_TOKEN_DAYS:
        faults["days"] = f"1 to {LONGEST_TOKEN_DAYS} days."
    if faults:
        raise Invalid(
            "The token was not made: " + "; ".join(f"{field}: {text}" for field, text in faults.items()),
            fix="Correct what is named and try again.",
            fields=faults,
        )
    if not user.is_active:
        raise Forbidden(f"The account {user.username} is switched off.", fix="An org admin can switch it on.")
    prefix = f"bs_{secrets.token_hex(4)}"
    secret = f"{prefix}_{new_token()}"
    now = clock.now()
    token = ApiToken.objects.create(
        user=user,
        name=name,
        prefix=prefix,
        token_sha256=fingerprint(secret),
        scopes=["*"] if "*" in scopes else [scope for scope in SCOPES if scope in scopes],
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    return token, secret


def revoke_token(token: ApiToken, *, actor: Actor) -> ApiToken:
    """End a token now; its owner or an org admin does it."""
    if actor.user is not None and actor.user.pk != token.user_id and not permissions.can(actor, Permission.ORG_ADMIN):
        raise NotFound("There is no such token.", fix="Look at your own list of tokens.")
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=clock.now())
    token.refresh_from_db(fields=["revoked_at"])
    return token


def token_actor(secret: str) -> Actor:
    """The program that shows this token, or TokenRefused; `last_used_at` moves at most once a minute."""
    refused = TokenRefused(
        "This token is not valid: unknown, expired or revoked.",
        fix="Make a new one under your name, or with `python manage.py api_token create`.",
    )
    match = _TOKEN.match(secret)
    if match is None:
        raise refused
    token = ApiToken.objects.select_related("user").filter(prefix=f"bs_{match[1]}").first()
    stored = token.token_sha256 if token is not None else "0" * 64
    same = hmac.compare_digest(fingerprint(secret), stored)
    if token is None or not same:
        raise refused
    now = clock.now()
    if token.revoked_at is not None or token.expires_at <= now or not token.user.is_active:
        raise refused
    if token.last_used_at is None or now - token.last_used_at >= LAST_USED_EVERY:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - LAST_USED_EVERY)
        ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
    return program(token)


# --- where people are told things ------------------------------------------------------------------------------------
def add_address(
    *, url: str, label: str, channel: str, hint: str, user: User | None = None, team: Team | None = None
) -> Address:
    """Store where a person or a team is told things. `channel` and `hint` come from the channel that checked `url`."""
    if (user is None) == (team is None):
        raise Invalid("An address belongs to a person or to a team.", fix="Name exactly one of them.")
    return Address.objects.create(
        user=user,
        team=team,
        label=label.strip()[:80] or channel,
        channel=channel,
        url_encrypted=encrypt(url.encode()),
        url_hint=hint[:120],
        created_at=clock.now(),
    )


def remove_address(address: Address, *, actor: Actor) -> None:
    """Tell nobody there any more; its owner or somebody who configures its team does it."""
    if address.team is not None:
        permissions.require(actor, Permission.CONFIGURE, address.team)
    elif actor.user is not None and actor.user_id != address.user_id:
        raise NotFound("There is no such address.", fix="Look at your own list of addresses.")
    address.delete()
