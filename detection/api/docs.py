"""The API's description.  It is open to all: it tells what can be asked, and no more."""

from __future__ import annotations

from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer


class SchemaView(SpectacularAPIView):
    """OpenAPI 3, as JSON unless YAML is asked for (`?format=yaml`)."""

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer]
    authentication_classes = ()


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files; its script is an address of its own, so no inline script is needed."""

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "api:schema"
    authentication_classes = ()
