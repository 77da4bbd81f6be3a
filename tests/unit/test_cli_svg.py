"""The picture of a disk is valid, escaped, and shows the divider and every segment."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from cli_fakes import inspection

from blockrep.cli.disk_map import scene_of_inspection
from blockrep.cli.svg import build_svg

SVG = "{http://www.w3.org/2000/svg}"


def _tree(*, divided: bool) -> ET.Element:
    return ET.fromstring(build_svg(scene_of_inspection(inspection(divided=divided)), "a subtitle"))


def test_undivided_disk_has_neither_divider_nor_boxes() -> None:
    tree = _tree(divided=False)
    assert tree.tag == f"{SVG}svg"
    classes = {path.get("class") for path in tree.iter(f"{SVG}path")}
    assert "contiguous" in classes
    assert not classes & {"divider", "box"}


def test_divided_disk_shows_its_divider_and_its_segments() -> None:
    tree = _tree(divided=True)
    paths = [path.get("class") for path in tree.iter(f"{SVG}path")]
    assert paths.count("divider") == 1
    assert paths.count("box") == 8
    texts = [text.text for text in tree.iter(f"{SVG}text")]
    assert {f"segment {n}" for n in range(1, 9)} <= set(texts)
    assert "the divider, at 1 GiB" in texts


@pytest.mark.parametrize("name", ["a<b>&\"'", "\x00\x1b[2J", "\udcff", "𝔸 ü", "]]>", "-->"])
def test_any_name_is_escaped(name: str) -> None:
    scene = replace(scene_of_inspection(inspection()), title=name)
    text = build_svg(scene, name)
    tree = ET.fromstring(text.encode("utf-8"))
    title = tree.find(f"{SVG}title")
    assert title is not None
    if name.isprintable():
        assert title.text == name


def test_everything_lies_within_the_picture() -> None:
    tree = _tree(divided=True)
    width, height = int(tree.get("width", "0")), int(tree.get("height", "0"))
    for rect in tree.iter(f"{SVG}rect"):
        assert float(rect.get("x", "0")) + float(rect.get("width", "0")) <= width
        assert float(rect.get("y", "0")) + float(rect.get("height", "0")) <= height
