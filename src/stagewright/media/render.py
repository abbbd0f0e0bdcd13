"""Text files for boot loaders and servers, rendered from templates."""

from __future__ import annotations


def render(package: str, template: str, **facts: object) -> str:
    """Render a template in the folder ``templates`` of a package. A fact that is missing is a defect."""
    import jinja2  # noqa: PLC0415  slow to import, and only media and boot files need it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  no HTML
    )
    return environment.get_template(template).render(**facts)
