"""The OpenAPI schema and Swagger UI, open to everybody."""

from __future__ import annotations

from functools import cache
from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request


class SchemaView(SpectacularAPIView):
    """OpenAPI 3, as JSON or YAML (`?format=yaml`).

    Rendered once per process, as it depends neither on the user nor on the query.
    """

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer]
    authentication_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer = request.accepted_renderer
        name = self._get_filename(request, "")
        return HttpResponse(
            _rendered(renderer.media_type),
            content_type=renderer.media_type,
            headers={"Content-Disposition": f'inline; filename="{name}"'},
        )


@cache
def _rendered(media_type: str) -> str | bytes:
    renderer = next(one for one in SchemaView.renderer_classes if one.media_type == media_type)
    schema = SchemaView.generator_class().get_schema(request=None, public=True)
    return renderer().render(schema, renderer_context={})


# Swagger UI writes styles into its elements, and its style sheet carries its icons.
_SWAGGER = {
    "script-src": [SELF],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],
    "connect-src": [SELF],
}


@method_decorator(csp_update(_SWAGGER), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files; its script has a URL of its own, so no inline script is needed."""

    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "api:schema"
    authentication_classes = ()
