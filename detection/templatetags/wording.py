"""Filters for labels, figures and stored sentences."""

from django import template

from detection.localized import numeral, within
from detection.said import said

register = template.Library()
register.filter("numeral", numeral)
register.filter("said", said)
register.filter("within", within)
