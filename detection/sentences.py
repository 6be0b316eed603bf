"""Sentences of services and workers that pages show (`detection.said`), with `%(name)s` where something is filled in.

`tests/languages/test_said.py` holds that what services refuse with is among them.
"""

from django.utils.translation import gettext_noop as _

REFUSALS = (
    _("%(n)s of them went to somebody else meanwhile. Nothing was stored; open the sheet again."),
    _("%(n)s of your requests for evidence are waiting already; try again in a moment."),
    _("%(version)s is in shadow; one version is at a time."),
    _("%(version)s is not in shadow."),
    _("A comment has at most %(n)s characters and no NUL."),
    _("A contact sheet shows %(queues)s."),
    _("A key is one letter, digit or sign."),
    _("A known answer is real, fake or no_face."),
    _("A person is one of %(labels)s."),
    _("Another process is at this run; the admin shows how it goes."),
    _("Answer for every person, or say what the video is as well."),
    _("At most %(n)s videos can be held at once."),
    _("Choose on, off or forget."),
    _("Delete the video and upload the file again."),
    _("Disabled after %(n)s failed attempts in a row. Delete it, and create it anew when it answers."),
    _("Forcing a model needs a reason: it is kept with the decision."),
    _("Heat maps tell what the model thinks: they are shown after your answer."),
    _("It is the active model: its verdicts are what shadows are compared with."),
    _("Its owner has removed this webhook, or is deactivated."),
    _("No model has judged faces of this video, so there is no heat map."),
    _("None of your groups has a role here. Ask those who run this installation."),
    _("Only a video in which no face was found is looked at again."),
    _("Only one's own answer can be taken back."),
    _("Only one's own decisions can be reverted."),
    _("Only reviewers may have a video looked at again."),
    _("Only the owner of a video and reviewers may label it."),
    _("Only who settles disagreements may set known answers."),
    _("Only who settles disagreements may settle this one."),
    _("Only who settles disagreements may take this answer back."),
    _("Say in 1 to %(n)s characters how the answer is known."),
    _("The faces were looked for anew meanwhile: the people may be numbered otherwise. Look at them again."),
    _("The key %(key)s cannot mean two things."),
    _("The key %(key)s has a meaning that stays."),
    _("The label must be one of %(labels)s."),
    _("The provider's name for you cannot be a user name here."),
    _("The report tells what the model and others say: it is yours after your answer."),
    _("The sign-on service does not answer as it should. Try again later."),
    _("The sign-on service's answer could not be verified. Try again."),
    _("The stored weights of %(name)s have sha256 %(found)s, not %(wanted)s. Register the file again."),
    _(
        "The training run of %(when)s has not ended yet; wait for it, or go on with it"
        " (manage.py retrain --resume) or give it up (--give-up) if its worker is gone."
    ),
    _("The video cannot be %(label)s where its people are as you say."),
    _("The video was deleted meanwhile."),
    _("There is a report once the video has been analysed."),
    _("There is an account %(name)s here already. If it is yours, an administrator can connect it."),
    _("There is no answer of yours to take back."),
    _("There is no earlier model to go back to."),
    _("There is no evidence of kind %(kind)s."),
    _("There is no person %(n)s in this video."),
    _("There is no queue %(queue)s; there are %(queues)s."),
    _("There is no such decision."),
    _("There is no such video any more."),
    _("There is no such video."),
    _("These are no answers for people."),
    _("These are no keys of the workspace."),
    _("This account was deactivated here."),
    _("This answer has been taken back already."),
    _("This decision has been reverted already."),
    _("This is no claim on a video; load the page again."),
    _("This task has not ended yet."),
    _("This video is no longer with this page: it was answered or deleted, or the page was silent too long."),
    _("This video is still being analysed."),
    _("This video was looked at with lower thresholds before, and no face was found either."),
    _("Too many people are logging in at once. Try again in a moment."),
    _("You confirmed %(said)s videos, %(sent)s were sent."),
)
ANALYSES = (
    _("A clip in %(suffix)s cannot begin between key frames."),
    _("A frame of %(width)s x %(height)s pixels is larger than is taken; reduce the video first."),
    _("A later part of the file cannot be reached."),
    _("An unexpected error occurred each time."),
    _("Each time the process that analysed this file ended without a word."),
    _("Each time the process that worked on it ended without a word."),
    _("Given up after %(n)s attempts."),
    _("It needed more memory than there is."),
    _("It stopped without an answer."),
    _("It took longer than %(limit)s."),
    _("It was cancelled, or given to another worker, and did not stop."),
    _("Its owner cancelled this task."),
    _("Its pictures (%(format)s) cannot be shown in colour."),
    _("No decoder for the video's codec (%(codec)s) is installed."),
    _("No model has judged faces of this video any more."),
    _("The analysis stopped without an answer."),
    _("The content of the file is not a video, whatever its name says."),
    _("The file begins like a video but cannot be opened: it is damaged or was never finished."),
    _("The file does not say when its packets are shown."),
    _("The file has a video stream, but no frame of it can be decoded."),
    _("The file has no video packet that can be copied."),
    _("The file holds no video stream."),
    _("The file is empty."),
    _("The file was removed before the model could look at its frames."),
    _("The first %(n)s frames cannot be copied: %(error)s"),
    _("The frames cannot be written as %(codec)s: %(error)s"),
    _("The installation's signing key cannot be read; its operator must look at it."),
    _("The model %(name)s cannot be loaded; ask the operator to register it again."),
    _("The video says it lasts %(seconds)s s; at most %(most)s s are taken."),
    _("There are no heat maps of its verdicts, which are not of faces."),
    _("There are no heat maps of its verdicts: which face moved the score cannot be told apart."),
    _("There is no file of this name."),
    _("This installation of FFmpeg has no encoder whose output browsers play (H.264, VP9 or VP8)."),
    _("This model looks at all faces of a person together: no face has a score of its own."),
    _("This model looks at whole frames, with or without a face in them: no person has a score."),
)
PROVENANCE = (
    _("Editing software has left its name: %(names)s."),
    _("It is signed by %(signer)s, on your trust list."),
    _("It is signed by %(signer)s: not on your trust list."),
    _("It names a camera as well, so what the camera recorded was encoded a second time."),
    _("It was written by a program, not by a camera: %(names)s."),
    _("Its signer is not named, on your trust list."),
    _("Its signer is not named: not on your trust list."),
    _("The manifest does not match: the file was changed after it was signed, or the manifest was."),
    _("There is a C2PA manifest, but it cannot be read."),
)
WEBHOOKS = (
    _("No answer within %(seconds)s s."),
    _("Only https is allowed here."),
    _("The answer is no HTTP, or its head is too long."),
    _("The connection failed: %(error)s."),
    _("The host name cannot be resolved."),
    _("The host's address is not a public one."),
    _("The receiver answered %(status)s."),
    _("The receiver answered %(status)s; redirects are not followed."),
    _("The receiver closed the connection without an answer."),
    _("The receiver's certificate is not valid: %(error)s."),
)
GATE = (
    _(
        "Beyond these, %(version)s judges %(n)s held-out videos without a face: %(real)s of %(n_real)s real ones called"
        " real, %(fake)s of %(n_fake)s fake ones called fake."
    ),
    _(
        "Refused: there is no held-out video with a face, of people that neither model was trained on, and one of the"
        " two models needs a face."
    ),
    _("%(n)s more fake video"),
    _("%(n)s more fake videos"),
    _("%(n)s more group of people in the fakes"),
    _("%(n)s more group of people in the reals"),
    _("%(n)s more groups of people in the fakes"),
    _("%(n)s more groups of people in the reals"),
    _("%(n)s more real video"),
    _("%(n)s more real videos"),
    _("It did not pass the gate."),
    _("It has not been through the gate: no training run compared it with the active model."),
    _(
        "It is look %(look)s at this holdout: of the %(all)s that chance may win in all looks together, this one may"
        " spend %(share)s."
    ),
    _("It is recalibration %(look)s of these weights, and may spend %(share)s %% of error."),
    _("It is the active model now."),
    _("It is the active model."),
    _("It passed, but against a model that is no longer the active one; it must be compared again."),
    _("No model is active, and there are too few held-out videos to judge by: it is the first, on trust."),
    _(
        "Passed: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s (%(level)s"
        " interval %(low)s to %(high)s), better than guessing; no model is active to compare it with."
    ),
    _(
        "Passed: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s against %(old)s"
        " of the active model (difference %(difference)s, %(level)s interval %(low)s to %(high)s); its fake recall is"
        " %(recall)s against %(old_recall)s."
    ),
    _(
        "Passed: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s against %(old)s"
        " of the active model (difference %(difference)s, %(level)s interval %(low)s to %(high)s); its fake recall is"
        " %(recall)s against %(old_recall)s, but the active model's answers cannot be told from guessing (balanced"
        " accuracy %(balanced)s), so its recall says nothing."
    ),
    _(
        "Passed: on %(n)s videos of the random audit, of %(groups)s groups of people, the Brier score is %(new)s"
        " against %(old)s of the present calibration (difference %(difference)s, interval %(low)s to %(high)s); its"
        " fake recall is %(recall)s against %(old_recall)s."
    ),
    _(
        "Refused: on %(n)s held-out videos of %(groups)s groups of people the candidate cannot be told from guessing"
        " with %(confidence)s confidence: its own AUC is %(own)s (%(level)s interval %(low)s to %(high)s, and guessing"
        " has 0.50); no model is active to compare it with."
    ),
    _(
        "Refused: on %(n)s held-out videos of %(groups)s groups of people the candidate is worse than chance with"
        " %(confidence)s confidence: its AUC is %(own)s (%(level)s interval %(low)s to %(high)s, and guessing has"
        " 0.50). Is FAKE the other output?"
    ),
    _(
        "Refused: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s against"
        " %(old)s of the active model (difference %(difference)s, %(level)s interval %(low)s to %(high)s); it must be"
        " better with %(confidence)s confidence."
    ),
    _(
        "Refused: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s against"
        " %(old)s of the active model (difference %(difference)s, %(level)s interval %(low)s to %(high)s), which is"
        " better, but the candidate cannot be told from guessing with %(confidence)s confidence: its own AUC is %(own)s"
        " (%(level)s interval %(own_low)s to %(own_high)s, and guessing has 0.50)."
    ),
    _(
        "Refused: on %(n)s held-out videos of %(groups)s groups of people the candidate's AUC is %(new)s against"
        " %(old)s of the active model (difference %(difference)s, %(level)s interval %(low)s to %(high)s), which is"
        " better, but at its threshold the candidate finds clearly fewer of the fakes: recall %(recall)s against"
        " %(old_recall)s (difference %(lost)s, 90 %% interval %(lost_low)s to %(lost_high)s); a loss of more than"
        " %(most)s must not be certain."
    ),
    _(
        "Refused: on %(n)s videos of the random audit, of %(groups)s groups of people, the Brier score is %(new)s"
        " against %(old)s of the present calibration (difference %(difference)s, interval %(low)s to %(high)s); it must"
        " be lower with %(confidence)s %% confidence."
    ),
    _(
        "Refused: on %(n)s videos of the random audit, of %(groups)s groups of people, the Brier score is %(new)s"
        " against %(old)s of the present calibration (difference %(difference)s, interval %(low)s to %(high)s), which"
        " is better, but at its threshold it finds clearly fewer of the fakes: recall %(recall)s against"
        " %(old_recall)s, interval %(recall_low)s to %(recall_high)s. Choose the threshold by the share of fakes to"
        " catch."
    ),
    _(
        "Refused: the files of all held-out videos are gone, and this model looks at whole frames. Import a data set,"
        " or label more videos, and try again."
    ),
    _(
        "Refused: the held-out videos are too few to compare on (%(real)s real and %(fake)s fake; weighed by their"
        " videos, the reals are of %(real_groups)s and the fakes of %(fake_groups)s groups of people); still needed:"
        " %(missing)s."
    ),
    _(
        "Refused: there is no held-out video of people that neither model was trained on. Import a data set, or label"
        " more videos, and try again."
    ),
    _(
        "Refused: Too few labels: there are %(there)s; it takes at least %(real)s real and %(fake)s fake ones, each of"
        " %(groups)s, weighed by their videos."
    ),
    _(
        "Too few labels: there are %(there)s; it takes at least %(real)s real and %(fake)s fake ones, each of"
        " %(groups)s, weighed by their videos."
    ),
)
LEARNING = (
    _("A face of video %(id)s is gone from storage; analyse the video again, or delete it."),
    _("Given up after %(n)s attempts; the operator finds the last error in the run."),
    _("Given up after %(n)s attempts: each time its process ended without a word."),
    _("Given up at the terminal."),
    _("ImageNet weights cannot be had here (no package, no hub, no --imagenet file)."),
    _("It has become the active model."),
    _("It is in shadow now: it scores what is analysed from now on."),
    _("It is not in shadow any more. What it said is kept."),
    _("It was trained on shuffled labels, to check for leaks; it is not meant to be used."),
    _("Registered with --activate."),
    _("Switched off after %(n)s failures in a row; the worker's log says why."),
    _("Switched off by %(name)s."),
    _("Switched off."),
    _("The clip of video %(id)s cannot be read (%(error)s); analyse the video again, or delete it."),
    _("The model that was to be recalibrated is gone."),
    _(
        "The model's scores say nothing of these labels (the fitted scale of its log-odds is %(scale)s): no calibration"
        " mends that. Train on them, or look for labels that are wrong."
    ),
    _(
        "Too few people to train on: %(n)s families of linked people, %(needed)s are needed. Label videos of other"
        " people, or import a data set (manage.py import_dataset)."
    ),
    _(
        "Too little to train on: %(there)s videos in the training split, %(needed)s of each are needed. Label more"
        " videos in the admin, or import a data set (manage.py import_dataset)."
    ),
    _("Video %(id)s was deleted meanwhile; try again."),
    _("What it said was removed: %(n)s scores."),
    _("called no face"),
    _("decoding frames"),
    _("disputed"),
    _("fingerprints"),
    _("fitting"),
    _("joins people of two sides, or a test video of someone who trains"),
    _("landmarks"),
    _("nobody says which person is forged"),
    _("packing faces"),
    _("people found anew since they were answered for"),
    _("reading the random audit"),
    _("sequence"),
    _("storing"),
    _("unsure"),
    _("without stored faces"),
)
HISTORY = (
    _("Promoted by force: %(reason)s"),
    _("Promoted: it passed the gate."),
    _("Queued again."),
    _("Recalibration started."),
    _("Retraining started."),
    _("Rolled back to this model."),
    _("Rolled back to this model: %(reason)s"),
    _("Sent again."),
)
"""Entries of the admin's own history."""
SENTENCES = (*REFUSALS, *ANALYSES, *PROVENANCE, *WEBHOOKS, *GATE, *LEARNING, *HISTORY)
