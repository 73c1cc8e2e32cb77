"""Pages in Markdown."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Returns a page of the template `templates/<template>`; nothing in it is escaped."""
    environment = Environment(
        loader=PackageLoader("latentry_trainer.report"),
        autoescape=False,  # noqa: S701 (Markdown of our own names and numbers)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
