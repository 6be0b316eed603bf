"""How the admin looks: its title, colours, menu and tabs, for unfold."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.utils.translation import gettext

from detection import languages

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": lambda request: gettext("Deepfake review"),
    "SITE_HEADER": lambda request: gettext("Deepfake review"),
    "SITE_SUBHEADER": lambda request: gettext("Evidence for reviewers"),
    "SITE_URL": None,
    "SITE_SYMBOL": "familiar_face_and_zone",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("detection/favicon.svg")},
    ],
    "STYLES": [lambda request: static("detection/admin.css")],
    "SCRIPTS": ["detection.admin.texts.address", lambda request: static("detection/admin.js")],
    "SHOW_LANGUAGES": True,
    "LANGUAGES": {"navigation": [{"code": code, "name_local": name} for code, name in languages.LANGUAGES]},
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "detection.admin.pages.dashboard.dashboard",
    "SIDEBAR": {"show_search": False, "navigation": "detection.admin.navigation.sidebar"},
    "TABS": "detection.admin.navigation.tabs",
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
}
