"""Page sections that are generated from the source, so they cannot become outdated.

The site replaces the marker `<!-- generated: commands -->` with the Markdown that `commands` makes
here, from click's and Python's metadata. In the repository, the page links to the source instead.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

import minidark
from minidark import _HOMES as HOMES
from minidark.cli import COMMANDS, cli
from minidark.cli.command import shared_options

MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
TERMS = re.compile(r"^<!-- index: (.+) -->$", re.MULTILINE)
CLASS = re.compile(r"^<!-- class: ([\w-]+) -->$", re.MULTILINE)


LINK = re.compile(r"\[`(?P<name>[\w.]+)`\]\(\.\./(?P<path>minidark/[\w/]+)\.py\)")
FACTORIES = {  # layer factories and their modules
    name: factory.__module__
    for name, factory in vars(minidark.layers).items()
    if name.startswith("make_")
}
INSIDE = (  # modules that layers and networks use
    "minidark.backend.numpy_kernels",
    "minidark.layers.affine",
    "minidark.layers.recurrent",
    "minidark.layers.initialize",
    "minidark.layers.batchnorm",
    "minidark.network.optim",
    "minidark.glibc_rand",
)
DOCUMENTED = {*HOMES.values(), *FACTORIES.values(), *INSIDE}


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this function."""
    app.connect("source-read", lambda app, name, text: text.append(fill(text.pop())))
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("autodoc-process-signature", _with_aliases)
    return {"parallel_read_safe": True}


def fill(page: str) -> str:
    """Replaces every marker of the page. Links to documented source become links to its
    documentation. Terms after `index:` become index entries, which a search shows first. `class:`
    is the style of the following list. Raises KeyError for a marker that is not in PARTS."""
    page = TERMS.sub(_entries, page)
    page = CLASS.sub(r"{.\1}", page)
    page = MARKER.sub(lambda marker: "\n".join(PARTS[marker[1]]()), page)
    return LINK.sub(_documented, page)


def _entries(terms: re.Match[str]) -> str:
    entries = ", ".join(f"! {term.strip()}" for term in terms[1].split(","))
    return f"```{{index}} {entries}\n```"


def _documented(link: re.Match[str]) -> str:
    """A reference to a name in `api`. Other links still lead to the source file."""
    name, module = link["name"], link["path"].replace("/", ".")
    if module not in DOCUMENTED or re.search(r"\b_", name):
        return link[0]
    home = "minidark" if HOMES.get(name.split(".")[0]) == module else module
    return f"{{py:obj}}`{name} <{home}.{name}>`"


def _as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Converts a docstring to reStructuredText, in place: `code` becomes code, an indented block
    becomes an equation, and all other text is literal."""
    plain, lines[:] = list(lines), []
    indented = False
    for line in plain:
        if line and line.startswith(" ") != indented:
            indented = not indented
            lines.extend(["::", ""] if indented else [])
        lines.append(line if indented else _escaped(line, r"[\\*|]|_(?!\w)"))


def _with_aliases(
    app: Any, what: str, name: str, obj: Any, options: Any, given: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """A signature with the type aliases of the source. Returns None to keep the original."""
    if not given:
        return None
    alias = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    return alias.sub(r"\1", given), returned and alias.sub(r"\1", returned)


# --- commands -----------------------------------------------------------------------------


def contexts() -> Iterator[click.Context]:
    """A click context for each command."""
    root = click.Context(cli, info_name="minidark", **cli.context_settings)
    for name in COMMANDS:
        _, command, _ = cli.resolve_command(root, [name])
        assert command
        yield click.Context(command, parent=root, info_name=name, **command.context_settings)


def own_params(ctx: click.Context) -> list[click.Parameter]:
    """A command's parameters, without the options that all commands share."""
    shared = {"--help", *(name for option in shared_options() for name in option.opts)}
    return [param for param in ctx.command.get_params(ctx) if shared.isdisjoint(param.opts)]


def commands() -> Iterator[str]:
    """A table of all commands, each with a link to its page."""
    yield from ("| command | does |", "|---|---|")
    names = [ctx.info_name for ctx in contexts()]
    for ctx in contexts():
        name, does = ctx.info_name, ctx.command.get_short_help_str(limit=200)
        yield f"| [`{name}`](commands/{name}.md) | {_escaped(does).replace('|', BAR)} |"
    yield from ("", "```{toctree}", ":hidden:", "")
    yield from (f"{name} <commands/{name}>" for name in names)
    yield "```"


BAR = "\\|"


def command_pages() -> Iterator[tuple[str, str]]:
    """Name and Markdown of a page for each command: usage, help text and options."""
    for ctx in contexts():
        yield str(ctx.info_name), "\n".join(_command_page(ctx)) + "\n"


def _command_page(ctx: click.Context) -> Iterator[str]:
    usage = " ".join(ctx.command.collect_usage_pieces(ctx))
    yield from (f"# minidark {ctx.info_name}", "")
    yield from ("```text", f"{ctx.command_path} {usage}", "```", "")
    yield from _help(ctx.command.help or "")
    rows = [(*(param.get_help_record(ctx) or ("", "")),) for param in own_params(ctx)]
    if any(text for _, text in rows):
        yield from ("## Options", "")
    for names, text in rows:
        if text:
            yield from (f"`{names}`", f": {_escaped(text)}", "")
    yield from ("[Options of all commands](../commands.md#options-of-all-commands)", "")


def _help(text: str) -> Iterator[str]:
    r"""A command's help as Markdown. Paragraphs after \b are examples."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from ("```sh", paragraph.removeprefix("\b\n"), "```", "")
        else:
            yield from (_escaped(paragraph), "")


MARKDOWN = r"[\\*_<>\[\]#]"


def _escaped(text: str, marks: str = MARKDOWN) -> str:
    """Escapes Markdown marks with a backslash, except inside `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(marks, r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def environment() -> Iterator[str]:
    """A table of the environment variables that set options."""
    rows: dict[tuple[str, str], list[str]] = {}
    for ctx in contexts():
        for option in own_params(ctx):
            if variable := _variable(option, ctx):
                name = max(option.opts, key=len)
                rows.setdefault((variable, name), []).append(f"`{ctx.info_name}`")
    if not rows:
        yield "No option is read from an environment variable."
        return
    yield from ("| variable | option | commands |", "|---|---|---|")
    for (variable, name), of in sorted(rows.items()):
        yield f"| `{variable}` | `{name}` | {', '.join(of)} |"


def _variable(option: click.Parameter, ctx: click.Context) -> str | None:
    """The option's environment variable. Of several, the last one, which most commands share."""
    if not isinstance(option, click.Option):
        return None
    given = option.envvar or option.get_help_extra(ctx).get("envvars") or ()
    return ([given] if isinstance(given, str) else [None, *given])[-1]


# --- api ----------------------------------------------------------------------------------


def api() -> Iterator[str]:
    """All public names, and the module and factory of each layer."""
    public = {name: getattr(minidark, name) for name in vars(minidark)["__all__"]}
    yield from _section("Functions", public, inspect.isfunction)
    yield from _section("Classes", public, lambda it: _is(it, object) and not _is(it, Exception))
    yield from _section("Errors", public, lambda it: _is(it, Exception))
    yield from ("## Layers", "")
    for name, module in FACTORIES.items():
        yield from (f"### {name}", "")
        yield from _directive("automodule", module, MEMBERS, f"   :exclude-members: {name}")
    yield from ("## Internals", "")
    for module in INSIDE:
        yield from (f"### {module}", "")
        yield from _directive("automodule", module, MEMBERS)


MEMBERS = "   :members:"


def _is(it: object, kind: type) -> bool:
    return isinstance(it, type) and issubclass(it, kind)


def _section(title: str, names: Mapping[str, Any], chosen: Callable[[Any], bool]) -> Iterator[str]:
    yield from (f"## {title}", "")
    for name, it in names.items():
        if chosen(it):
            yield from (f"### {name}", "")
            if isinstance(it, type):
                yield from _directive("autoclass", f"minidark::{name}", MEMBERS)
            else:
                yield from _directive("autofunction", f"minidark::{name}")


def _directive(name: str, of: str, *options: str) -> Iterator[str]:
    """An autodoc directive, in a block of reStructuredText."""
    yield from ("```{eval-rst}", f".. {name}:: {of}", *options, "```", "")


def live() -> Iterator[str]:
    """A frame with the page in which the shipped network runs (`first_page`)."""
    yield from ("```{raw} html", FRAME, "```")


FRAME = (
    '<iframe class="live" src="live.html" loading="lazy" title="The shipped network: type, and it '
    'continues"></iframe>\n<p><a href="live.html">Open it in a page of its own</a></p>'
)


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands,
    "environment": environment,
    "api": api,
    "live": live,
}
