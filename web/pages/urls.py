"""Every address of the pages, on one screen."""

from __future__ import annotations

from django.urls import path

from web.pages import home, search, setup
from web.pages.account import account, try_address
from web.pages.acting import act_now
from web.pages.action_items import items
from web.pages.approvals import approval
from web.pages.connections import connections, secrets
from web.pages.effects import effects
from web.pages.endpoints import deliveries, endpoints
from web.pages.evaluations import sets
from web.pages.guide import guide, running
from web.pages.incidents import acts, declare, incident, listing, marks
from web.pages.incidents import signals as incident_signals
from web.pages.people import accounts, addresses, people, teams
from web.pages.postmortems import history, postmortem, postmortems
from web.pages.postmortems import sections as written
from web.pages.runbooks import edit, runbooks
from web.pages.runs import acts as run_acts
from web.pages.runs import going_on, run, runs
from web.pages.services import load, services
from web.pages.styleguide import styleguide

urlpatterns = [
    path("", home.home, name="home"),
    path("now", home.now, name="now"),
    path("pulse", home.pulse, name="pulse"),
    path("search", search.search, name="search"),
    path("demo/again", home.again, name="demo_again"),
    path("incidents", listing.incidents, name="incidents"),
    path("incidents/new", declare.declare, name="incident_new"),
    path("incidents/<int:number>", incident.incident, name="incident"),
    *(
        path(f"incidents/<int:number>/{tab}", incident.tab, {"tab": tab}, name=f"incident_{tab}")
        for tab in incident.TABS
        if tab != "now"
    ),
    path("incidents/<int:number>/parts/<str:part>", incident.part, name="incident_part"),
    path("incidents/<int:number>/evidence/<int:evidence>", incident.evidence, name="evidence"),
    path(
        "incidents/<int:number>/evidence/<int:evidence_number>.csv",
        incident_signals.evidence_csv,
        name="evidence_csv",
    ),
    path("incidents/<int:number>/signals/part", incident_signals.part, name="incident_signals_part"),
    path("incidents/<int:number>/signals/<slug:name>.csv", incident_signals.csv, name="incident_signal_csv"),
    path("incidents/<int:number>/acknowledge", acts.acknowledge, name="incident_acknowledge"),
    path("incidents/<int:number>/take-over", acts.take_over, name="incident_take_over"),
    path("incidents/<int:number>/mitigate", acts.mitigate, name="incident_mitigate"),
    path("incidents/<int:number>/resolve", acts.resolve, name="incident_resolve"),
    path("incidents/<int:number>/reopen", acts.reopen, name="incident_reopen"),
    path("incidents/<int:number>/close", acts.close, name="incident_close"),
    path("incidents/<int:number>/severity", acts.severity, name="incident_severity"),
    path("incidents/<int:number>/service", acts.bind_service, name="incident_service"),
    path("incidents/<int:number>/times", acts.times, name="incident_times"),
    path("incidents/<int:number>/act", act_now.act_now, name="act_now"),
    path("incidents/<int:number>/note", acts.note, name="incident_note"),
    path("incidents/<int:number>/timeline/<int:seq>/pin", marks.pin, name="incident_pin"),
    path("incidents/<int:number>/timeline/<int:seq>/time", marks.note_time, name="incident_note_time"),
    path("incidents/<int:number>/impact", marks.set_impact, name="incident_impact"),
    path("incidents/<int:number>/gates/<int:gate>", acts.gate, name="incident_gate"),
    path("runs", runs.runs, name="runs"),
    path("runs/<uuid:uuid>", run.run, name="run"),
    path("runs/<uuid:uuid>/steps", run.steps, name="run_steps"),
    path("runs/<uuid:uuid>/cancel", run_acts.cancel, name="run_cancel"),
    path("runs/<uuid:uuid>/pause", run_acts.pause, name="run_pause"),
    path("runs/<uuid:uuid>/resume", run_acts.resume, name="run_resume"),
    path("runs/<uuid:uuid>/steps/<str:step>/<int:item>/answer", run_acts.answer, name="step_answer"),
    path("runs/<uuid:uuid>/steps/<str:step>/<int:item>/skip", run_acts.skip, name="step_skip"),
    path("runs/<uuid:uuid>/steps/<str:step>/<int:item>/rerun", run_acts.rerun, name="step_rerun"),
    path("runs/<uuid:uuid>/steps/<str:step>/<int:item>/go-on", going_on.go_on, name="step_go_on"),
    path("approvals/<uuid:uuid>", approval.approval, name="approval"),
    path("runs/<uuid:uuid>/steps/<str:step>/<int:item>/read", run_acts.read_now, name="step_read"),
    path("approvals/<uuid:uuid>/ask-again", approval.ask_again, name="ask_again"),
    path("effects", effects.effects, name="effects"),
    path("effects/stop", effects.stop, name="effects_stop"),
    path("effects/allow", effects.allow_again, name="effects_allow"),
    path("runbooks", runbooks.runbooks, name="runbooks"),
    path("runbooks/new", edit.new, name="runbook_new"),
    path("runbooks/new/lint", edit.lint_new, name="runbook_new_lint"),
    path("runbooks/<str:slug>", runbooks.runbook, name="runbook"),
    path("runbooks/<str:slug>/edit", edit.edit, name="runbook_edit"),
    path("runbooks/<str:slug>/lint", edit.lint, name="runbook_lint"),
    path("runbooks/<str:slug>/compare", runbooks.compared, name="runbook_compare"),
    path("runbooks/<str:slug>/start", runbooks.start, name="runbook_start"),
    path("runbooks/<str:slug>/revisions/<int:number>", runbooks.revision, name="revision"),
    path("runbooks/<str:slug>/revisions/<int:number>/publish", runbooks.publish, name="revision_publish"),
    path("services", services.services, name="services"),
    path("services/new", load.new, name="service_new"),
    path("services/new/lint", load.lint, name="service_lint"),
    path("services/<slug:slug>", services.service, name="service"),
    path("services/<slug:slug>/signals", services.signals, name="service_signals"),
    path("services/<slug:slug>/signals/<slug:name>.csv", services.csv, name="service_signal_csv"),
    path("services/<slug:slug>/autonomy", services.set_level, name="service_autonomy"),
    path("services/<slug:slug>/changes", services.add_change, name="service_change"),
    path("evaluation-sets", sets.sets, name="evaluation_sets"),
    path("evaluation-sets/load", sets.load, name="evaluation_load"),
    path("connections", connections.connections, name="connections"),
    path("connections/new", connections.new, name="connection_new"),
    path("connections/<slug:team>/<slug:slug>", connections.connection, name="connection"),
    path("connections/<slug:team>/<slug:slug>/check", connections.check, name="connection_check"),
    path("secrets", secrets.secrets, name="secrets"),
    path("secrets/keep", secrets.keep, name="secret_keep"),
    path("secrets/<slug:team>/<slug:name>/delete", secrets.delete, name="secret_delete"),
    path("endpoints", endpoints.endpoints, name="endpoints"),
    path("endpoints/new", endpoints.new, name="endpoint_new"),
    path("endpoints/<int:pk>", endpoints.endpoint, name="endpoint"),
    path("endpoints/<int:pk>/configure", endpoints.configure, name="endpoint_configure"),
    path("endpoints/<int:pk>/signature", endpoints.signature, name="endpoint_signature"),
    path("endpoints/<int:pk>/test", endpoints.test, name="endpoint_test"),
    path("endpoints/<int:pk>/rotate", endpoints.rotate, name="endpoint_rotate"),
    path("endpoints/<int:pk>/disable", endpoints.disable, name="endpoint_disable"),
    path("deliveries/<uuid:uuid>", deliveries.delivery, name="delivery"),
    path("deliveries/<uuid:uuid>/raw", deliveries.raw, name="delivery_raw"),
    path("deliveries/<uuid:uuid>/replay", deliveries.replay, name="delivery_replay"),
    path("postmortems", postmortems.postmortems, name="postmortems"),
    path("postmortems/<int:number>", postmortem.postmortem, name="postmortem"),
    path("postmortems/<int:number>/edit", postmortem.edit, name="postmortem_edit"),
    path("postmortems/<int:number>/draft", postmortem.draft, name="postmortem_draft"),
    path("postmortems/<int:number>/state", postmortem.state, name="postmortem_state"),
    path("postmortems/<int:number>/owner", postmortem.owner, name="postmortem_owner"),
    path("postmortems/<int:number>/reviewer", postmortem.reviewer, name="postmortem_reviewer"),
    path("postmortems/<int:number>/parts", postmortem.parts, name="postmortem_parts"),
    path("postmortems/<int:number>/sections/<slug:key>/take", written.take, name="section_take"),
    path("postmortems/<int:number>/sections/<slug:key>/hold", written.hold, name="section_hold"),
    path("postmortems/<int:number>/sections/<slug:key>/save", written.save, name="section_save"),
    path("postmortems/<int:number>/sections/<slug:key>/leave", written.leave, name="section_leave"),
    path("postmortems/<int:number>/sections/<slug:key>/owner", written.answer_for, name="section_owner"),
    path("postmortems/<int:number>/moments/<int:seq>", written.moment, name="postmortem_moment"),
    path("postmortems/<int:number>/offers/<int:offer>", written.offer, name="postmortem_offer"),
    path("postmortems/<int:number>/checks", written.see_to, name="postmortem_check"),
    path("postmortems/<int:number>/comments", written.comment, name="postmortem_comment"),
    path("postmortems/<int:number>/comments/<int:comment>/settle", written.settle, name="postmortem_settle"),
    path("postmortems/<int:number>/versions/<int:version>", history.version, name="postmortem_version"),
    path("postmortems/<int:number>/export.<str:form>", postmortem.export, name="postmortem_export"),
    path("actions", items.items, name="actions"),
    path("actions/new/<int:number>", items.new, name="action_new"),
    path("actions/<uuid:uuid>", items.item, name="action"),
    path("actions/<uuid:uuid>/<str:verb>", items.act, name="action_act"),
    path("people", people.people, name="people"),
    path("people/new", people.new, name="person_new"),
    path("people/<slug:username>/link", people.link, name="person_link"),
    path("people/<slug:team>/<slug:username>", people.roles, name="person_roles"),
    path("teams/new", teams.new, name="team_new"),
    path("teams/<slug:team>", teams.team, name="team"),
    path("teams/<slug:team>/addresses", addresses.add, name="team_address"),
    path("teams/<slug:team>/addresses/<int:pk>/remove", addresses.remove, name="team_address_remove"),
    path("accounts", accounts.accounts, name="accounts"),
    path("accounts/<slug:username>/active", accounts.active, name="account_active"),
    path("accounts/<slug:username>/org-admin", accounts.org_admin, name="account_org_admin"),
    path("account", account.account, name="account"),
    path("account/addresses", account.add_address, name="account_address"),
    path("account/addresses/<int:pk>/remove", account.remove_address, name="account_address_remove"),
    path("account/addresses/<int:pk>/test", try_address.try_address, name="address_test"),
    path("account/tokens", account.add_token, name="account_token"),
    path("account/tokens/<int:pk>/revoke", account.revoke_token, name="account_token_revoke"),
    path("account/density", account.density, name="account_density"),
    path("account/sessions/end", account.end_sessions, name="account_sessions_end"),
    path("account/shortcuts", account.shortcuts, name="account_shortcuts"),
    path("styleguide", styleguide.styleguide, name="styleguide"),
    path("setup", setup.setup, name="setup"),
    path("setup/hide", setup.hide, name="setup_hide"),
    path("guide", guide.guide, name="guide"),
    path("guide/<slug:page>", guide.page, name="guide_page"),
    path("files/guide/<slug:name>.png", guide.picture, name="guide_picture"),
    path("how-it-runs", running.running, name="how_it_runs"),
    path("how-it-runs/now", running.now, name="how_it_runs_now"),
]
