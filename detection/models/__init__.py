"""The database tables.  Services write them; selectors read more than one row."""

from detection.models.append_only import AppendOnlyError
from detection.models.audit import AuditAction, AuditArchive, AuditEntry, AuditHead
from detection.models.choices import Assessment, ModelKind, PersonLabel, ReviewLabel, ReviewNext, VerdictLabel
from detection.models.core import AUDIT_RANKS, Analysis, ModelVersion, Verdict, Video
from detection.models.evidence import EvidenceJob, EvidenceKind, Print, PrintKind, VideoProvenance
from detection.models.faces import FaceFrame, SampledFrame
from detection.models.learning import (
    DatasetVideo,
    IdentitySide,
    LocalFigures,
    Promotion,
    PromotionKind,
    RunState,
    ShadowScore,
    ShadowState,
    ShadowTrial,
    Snapshot,
    Split,
    TrainingRun,
)
from detection.models.operating import ChoreRun, ExternalIdentity, HourFigures, WorkerBeat
from detection.models.removing import CacheHolder, FolderCheck, Removal
from detection.models.reviewing import GoldVideo, Review, ReviewBatch, ReviewClaim, ReviewerKeys, ReviewRole, label_of
from detection.models.states import OPEN_STATES, TERMINAL_STATES, TOLD_AS_FAILED, Stage, State
from detection.models.uploading import ResumablePiece, ResumableUpload, UploadDay, UploadKey
from detection.models.webhooks import DeliveryState, Webhook, WebhookDelivery

__all__ = [
    "AUDIT_RANKS",
    "OPEN_STATES",
    "TERMINAL_STATES",
    "TOLD_AS_FAILED",
    "Analysis",
    "AppendOnlyError",
    "Assessment",
    "AuditAction",
    "AuditArchive",
    "AuditEntry",
    "AuditHead",
    "CacheHolder",
    "ChoreRun",
    "DatasetVideo",
    "DeliveryState",
    "EvidenceJob",
    "EvidenceKind",
    "ExternalIdentity",
    "FaceFrame",
    "FolderCheck",
    "GoldVideo",
    "HourFigures",
    "IdentitySide",
    "LocalFigures",
    "ModelKind",
    "ModelVersion",
    "PersonLabel",
    "Print",
    "PrintKind",
    "Promotion",
    "PromotionKind",
    "Removal",
    "ResumablePiece",
    "ResumableUpload",
    "Review",
    "ReviewBatch",
    "ReviewClaim",
    "ReviewLabel",
    "ReviewNext",
    "ReviewRole",
    "ReviewerKeys",
    "RunState",
    "SampledFrame",
    "ShadowScore",
    "ShadowState",
    "ShadowTrial",
    "Snapshot",
    "Split",
    "Stage",
    "State",
    "TrainingRun",
    "UploadDay",
    "UploadKey",
    "Verdict",
    "VerdictLabel",
    "Video",
    "VideoProvenance",
    "Webhook",
    "WebhookDelivery",
    "WorkerBeat",
    "label_of",
]
