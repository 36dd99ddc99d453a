"""The charts of an exported postmortem: what was measured then, drawn without scripts."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command

from catalog.models import Service
from incidents.models import Evidence, Postmortem
from tests.factories_web import World, make_world, signed_in
from web.pages import figures

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    """A postmortem that cites E1, which holds a series; its incident has a picture of its signal."""
    made = make_world()
    Postmortem.objects.filter(pk=made.postmortem.pk).update(body="# What happened\n\nAccuracy fell [E1].")
    return made


def test_the_export_holds_the_signal_and_what_is_cited(world: World) -> None:
    page = signed_in(world.member).get(f"/postmortems/{world.incident.number}/export.html").content.decode()
    assert page.count('<svg class="chart') == 2
    assert "Accuracy, the signal it was about" in page
    assert f"E1: {Evidence.objects.get(incident_id=world.incident.pk, number=1).summary}" in page
    assert "<script" not in page
    assert "style=" not in page
    assert '<link rel="stylesheet" href="/static/charts.css">' in page


def test_each_drawing_says_whose_time_it_tells(world: World) -> None:
    page = signed_in(world.member).get(f"/postmortems/{world.incident.number}/export.html").content.decode()
    drawings = re.findall(r'<svg class="chart.*?aria-label.*?</figure>', page, re.DOTALL)
    assert [drawing.count(">UTC</text>") for drawing in drawings] == [1, 1]


def test_what_is_not_cited_is_not_drawn(world: World) -> None:
    world.postmortem.body = "# What happened\n\nNothing is known."
    Service.objects.get(pk=world.service.pk).pictures.all().delete()
    assert figures.of_postmortem(world.postmortem) == ""


def test_titles_are_escaped(world: World) -> None:
    world.postmortem.refresh_from_db()
    world.service.pictures.update(name="accuracy", unit="<b>x</b>")
    assert "<b>x</b>" not in figures.of_postmortem(world.postmortem)


def test_the_api_and_the_command_draw_them_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    answer = signed_in(world.member).get(f"/api/v1/postmortems/{world.incident.number}/export?format=html")
    assert '<svg class="chart' in answer.content.decode()
    call_command("postmortem", "export", str(world.incident.number), "--format", "html")
    told = capsys.readouterr().out
    assert '<svg class="chart' in told
    assert ".usual" in told
