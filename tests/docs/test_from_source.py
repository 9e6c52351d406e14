"""What the site's pages take from the source."""

from __future__ import annotations

from types import ModuleType

import click
import pytest

from tests.docs.pages import extension


@pytest.fixture(scope="module")
def from_source() -> ModuleType:
    return extension("from_source")


def test_help_becomes_markdown(from_source: ModuleType) -> None:
    text = "First *line*, a_b and `a_b`.\n\n    \b\n    minidark x  # y\n"
    expected = ["First \\*line\\*, a\\_b and `a_b`.", "", "```sh", "minidark x  # y", "```", ""]
    assert [*from_source._help(text)] == expected


def test_a_docstring_becomes_restructuredtext(from_source: ModuleType) -> None:
    lines = ["One | two_ `a|b`:", "", "    x = y * z", "", "After."]
    from_source._as_rst(None, "", "", None, None, lines)
    expected = ["One \\| two\\_ `a|b`:", "", "::", "", "    x = y * z", "", "After."]
    assert lines == expected


def test_an_option_is_told_with_the_variable_that_more_commands_share(
    from_source: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def context(name: str, *options: click.Option) -> click.Context:
        return click.Context(click.Command(name, params=[*options]), info_name=name)

    def option(*names: str, **given: object) -> click.Option:
        return click.Option(names, **given)  # type: ignore[arg-type]

    contexts = [
        context("a", option("-s", "--seed", envvar=["M_A_SEED", "M_SEED"]), option("--none")),
        context("b", option("--seed", envvar=["M_B_SEED", "M_SEED"]), option("--x", envvar="M_X")),
    ]
    monkeypatch.setattr(from_source, "contexts", lambda: iter(contexts))
    assert [*from_source.environment()][2:] == [
        "| `M_SEED` | `--seed` | `a`, `b` |",
        "| `M_X` | `--x` | `b` |",
    ]
    monkeypatch.setattr(from_source, "contexts", lambda: iter(()))
    assert [*from_source.environment()] == ["No option is read from an environment variable."]


def test_a_link_to_source_leads_to_what_the_site_has_of_it(from_source: ModuleType) -> None:
    page = (
        "[`GruLayer.forward`](../minidark/layers/gru.py) "
        "[`GruLayer._gate_biases`](../minidark/layers/gru.py) "
        "[`Network.update`](../minidark/network/network.py) [`main`](../minidark/__main__.py)"
    )
    assert from_source.fill(page) == (
        "{py:obj}`GruLayer.forward <minidark.layers.gru.GruLayer.forward>` "
        "[`GruLayer._gate_biases`](../minidark/layers/gru.py) "
        "{py:obj}`Network.update <minidark.Network.update>` [`main`](../minidark/__main__.py)"
    )
    with pytest.raises(KeyError):
        from_source.fill("<!-- generated: nothing -->")
