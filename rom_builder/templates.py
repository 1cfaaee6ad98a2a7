"""Device files that follow from a policy: Jinja2 templates at their device path, parsed again."""

from __future__ import annotations

from lxml import etree

from rom_builder.errors import RomBuilderError
from rom_builder.policy.models import Consent, Data, ServicePolicy, Transport
from rom_builder.policy.profile import Profile
from rom_builder.resources import data_folder


def render_device_file(path: str, service: ServicePolicy, profile: Profile) -> bytes:
    """Return the content of a device file for one service.

    Values are escaped for XML files, so none can break out of its element; the result is parsed
    again before it is used.

    Args:
        path: Device path; the template is ``templates/<path>.j2``.

    Raises:
        RomBuilderError: There is no such template, or what it gives is no well-formed XML.
    """
    import jinja2  # late: only a build renders

    is_xml = path.endswith(".xml")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_folder("templates")),
        autoescape=is_xml,  # noqa: S701 - text files are no markup
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    try:
        text = environment.get_template(f"{path.lstrip('/')}.j2").render(
            title=profile.title,
            packages=profile.packages,
            consent=service.consent or Consent.model_construct(),
            transport=service.transport or Transport.model_construct(),
            data=service.data or Data.model_construct(),
        )
    except jinja2.TemplateNotFound as error:
        raise RomBuilderError(
            f"{path}: no template for this file",
            hint=f"add templates{path}.j2, or take the file out of the profile {profile.id}",
        ) from error
    except jinja2.TemplateError as error:
        raise RomBuilderError(f"templates{path}.j2: {error}") from error
    data = text.encode()
    if is_xml:
        try:
            etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
        except etree.XMLSyntaxError as error:
            raise RomBuilderError(
                f"templates{path}.j2 gives no well-formed XML: {error}"
            ) from error
    return data
