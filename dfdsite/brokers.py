"""What Celery is told about each kind of broker."""

from __future__ import annotations

from typing import Any

REDIS = ("redis", "rediss")
SCHEMES = (*REDIS, "amqp", "amqps")
"""Of addresses with which the product has been tried."""


def is_amqp(url: str) -> bool:
    """RabbitMQ, and not Redis or Valkey."""
    return url.startswith(("amqp://", "amqps://"))


def options(url: str, *, longest_task_s: int) -> dict[str, Any]:
    """CELERY_BROKER_TRANSPORT_OPTIONS; RabbitMQ needs none: it redelivers as soon as a connection is lost."""
    if is_amqp(url):
        return {}
    # Measured on celery 5.7 / kombu 5.7: a task that outlives the visibility timeout runs twice, and kombu's default
    # restore interval makes a killed worker's task wait for 90 s.
    return {
        "visibility_timeout": longest_task_s + 60,
        "unacked_restore_interval": 5,
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 15,
    }
