"""What pages call tables and columns, in the reader's language.

Names, help texts and choices that Django derives or that the models state are English; they are looked up as they are
shown.
Migrations, permissions and the REST API's description keep the English ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _

TABLES = (
    _("analysis"), _("analyses"), _("audit entry"), _("audit entries"), _("dataset video"), _("dataset videos"),
    _("external identity"), _("external identities"), _("gold video"), _("gold videos"), _("model version"),
    _("model versions"), _("prediction"), _("predictions"), _("promotion"), _("promotions"), _("review"), _("reviews"),
    _("review batch"), _("review batches"), _("training run"), _("training runs"), _("video"), _("videos"),
    _("video without a face"), _("videos without a face"), _("webhook delivery"), _("webhook deliveries"),
)  # fmt: skip
COLUMNS = (
    _("action"), _("actor"), _("actor id"), _("address"), _("at"), _("attempts"), _("comment"), _("created at"),
    _("dataset"), _("donor"), _("ended at"), _("error code"), _("error detail"), _("event"), _("facts"),
    _("finished at"), _("hash"), _("identity"), _("issuer"), _("kind"), _("label"), _("lease until"), _("license"),
    _("method"), _("model probability"), _("model version"), _("name"), _("not before"), _("number"), _("owner"),
    _("parent"), _("path"), _("people"), _("previous"), _("progress"), _("promoted at"), _("published at"),
    _("queue"), _("reason"), _("reviewer"), _("score shown"), _("seconds"), _("set by"), _("sha256"), _("shift"),
    _("source"), _("stage"), _("started at"), _("state"), _("status"), _("subject"), _("task id"), _("temperature"),
    _("threshold"), _("training data sha256"), _("undoes"), _("user"), _("verdict"), _("verdict label"), _("video"),
    _("worker"),
)  # fmt: skip
HELP = (
    _("Below the data set's folder."),
    _("train, val or test, as the set says."),
    _("0 to 100, over both stages."),
    _("1, 2, 3, ... without a gap."),
    _("A sentence for the client."),
    _("As a Review's, where it is known of people, too."),
    _("Backoff: no claim before this."),
    _("Claims; of an analysis, of its present stage."),
    _("From seeing the video to answering."),
    _("How it is known."),
    _("Identities that its training has seen."),
    _("Of the log-odds, after the temperature; other than 0 where the version was recalibrated."),
    _("SHA-256 of `previous` and all else of this entry."),
    _("SPDX name."),
    _("The hash of the entry before this one."),
    _("The one shown."),
    _("The provider's address, as in DFD_OIDC_ISSUER."),
    _("The provider's own id of the user (`sub`)."),
    _("The user's id; the user may be gone."),
    _("The user's name, or the program's."),
    _("What the model said at the time."),
    _("What was said of people by themselves, {track: PersonLabel}; null where only of the whole."),
    _("When a worker was last told of it."),
    _("Where a detector of others comes from."),
    _("Where the request came from."),
    _("Whether the reviewer had seen the model's score."),
    _("Who claimed it last."),
    _("Who is seen, or the source clip where nobody knows."),
    _("Whose face was put in; fakes only."),
    _("Why the video was shown."),
    _("`video:<id>`, `user:<id>`, ..."),
)


def translate(tables: Iterable[type[models.Model]]) -> None:
    """Have the names, help texts and choices of these tables looked up when they are shown.

    A `label` of the choices themselves stays English.
    """
    known = {*TABLES, *COLUMNS, *HELP}
    for table in tables:
        options = table._meta
        options.verbose_name = _looked_up(options.verbose_name, known)
        options.verbose_name_plural = _looked_up(options.verbose_name_plural, known)
        for field in options.fields:
            field.verbose_name = _looked_up(field.verbose_name, known)
            field.help_text = _looked_up(field.help_text, known)
            if field.choices:
                field.choices = [(value, gettext_lazy(str(label))) for value, label in field.flatchoices]


def _looked_up(text: object, known: set[str]) -> str:
    """Return the text as one that is looked up later; as it is where no page shows it."""
    return gettext_lazy(str(text)) if str(text) in known else text  # type: ignore[return-value]
