from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rom_builder.edits import Obstacle
from rom_builder.errors import ImageError
from rom_builder.findings import Location, Strength
from rom_builder.mechanisms.service_config import ServiceConfig
from tests.roms import Link

PATH = "/system/etc/service.xml"
SAMPLE = """<?xml version="1.0" encoding="utf-8"?>
<!-- by hand -->
<service>
  <consent default='on' preselected="allowed"/>
  <transport><host>a.example.com</host>
    <host> b.example.com </host></transport>
  <other x="1">text &amp; more</other>
</service>
"""


def binding(select: str, file: str = PATH) -> dict[str, str]:
    return {"mechanism": "service-config", "file": file, "select": select}


def test_an_attribute(bench: Any) -> None:
    (found,) = bench({PATH: SAMPLE}, **binding("/service/consent/@default")).found()
    assert found.values == ("on",)
    assert found.location == Location("system/etc/service.xml", line=4)
    assert found.strength is Strength.EFFECTIVE


def test_elements_in_order(bench: Any) -> None:
    (found,) = bench({PATH: SAMPLE}, **binding("//host")).found()
    assert found.values == ("a.example.com", "b.example.com")


def test_a_place_that_is_missing_is_unset(bench: Any) -> None:
    assert bench({PATH: SAMPLE}, **binding("/service/@none")).read() == [()]


def test_a_file_that_is_missing_is_not_found(bench: Any) -> None:
    place = bench({PATH: SAMPLE}, **binding("/service/@x", "/system/etc/other.xml"))
    assert place.found() == []
    (obstacle,) = place.render("1")
    assert isinstance(obstacle, Obstacle)


@pytest.mark.parametrize(
    ("select", "values"),
    [
        ("/service/consent/@default", ("off",)),
        ("/service/transport/host", ("c.example.com", "d.example.com")),
        ("/service/other", ('<&">',)),
    ],
)
def test_what_is_rendered_is_read(bench: Any, select: str, values: tuple[str, ...]) -> None:
    place = bench({PATH: SAMPLE}, **binding(select))
    place.apply(place.render(*values))
    assert place.read() == [values]
    assert place.render(*values) == []
    untouched = bench({}, **binding("/service/other/@x"))
    assert untouched.read() == [("1",)]


def test_booleans_are_written_as_words(bench: Any) -> None:
    place = bench({PATH: SAMPLE}, **binding("/service/consent/@default"))
    place.apply(place.render(False))
    assert place.read() == [("false",)]


def test_the_file_that_a_link_leads_to_is_changed(bench: Any) -> None:
    files = {PATH: Link("../../product/real.xml"), "/product/real.xml": SAMPLE}
    (edit,) = bench(files, **binding("/service/consent/@default")).render("off")
    assert edit.path == "/product/real.xml"


def test_more_values_than_places_is_an_obstacle(bench: Any) -> None:
    (obstacle,) = bench({PATH: SAMPLE}, **binding("//host")).render("a", "b", "c")
    assert isinstance(obstacle, Obstacle)
    assert "the file has 2 such places" in obstacle.why


@pytest.mark.parametrize("select", ["/a[", "//x:a", "count(//a)", "'text'", "", "nofunction()"])
def test_a_select_that_names_no_place_is_refused(select: str) -> None:
    with pytest.raises(ValidationError, match="select"):
        ServiceConfig.model_validate(binding(select))


BOMB = "<!DOCTYPE a [<!ENTITY b 'xxxxxxxxxx'>" + "".join(
    f"<!ENTITY b{i} '{f'&b{i - 1 if i else str()};' * 10}'>" for i in range(12)
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<service>",
        "not xml",
        "\3\0\10\0binary",
        "<a/>" + "\0" * 9,
        "<?xml version='1.0' encoding='nonsense'?><a/>",
        BOMB + "]><a x='&b11;'/>",
    ],
)
def test_a_damaged_file_is_an_image_error(bench: Any, text: str) -> None:
    place = bench({PATH: text}, **binding("/a/@x"))
    with pytest.raises(ImageError, match=r"system/etc/service\.xml: is no well-formed XML"):
        place.found()


def test_nothing_outside_the_file_is_read(bench: Any, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("on")
    text = f"<!DOCTYPE a [<!ENTITY s SYSTEM '{secret.as_uri()}'>]><a>&s;</a>"
    assert bench({PATH: text}, **binding("/a")).read() == [("",)]


def test_a_huge_file_is_refused(bench: Any) -> None:
    place = bench({PATH: "<a>" + " " * (1 << 20) + "</a>"}, **binding("/a"))
    with pytest.raises(ImageError, match="at most 1048576 are read"):
        place.found()
