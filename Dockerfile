# syntax=docker/dockerfile:1
# Two targets from one recipe:  docker build --target cpu .   docker build --target cuda .
#
# On Linux the default torch brings its CUDA libraries along (about 3 GB).  For a small `cpu` image, give pip the index
# that carries torch's CPU wheels (its address is on PyTorch's "Get started" page):
#   docker build --target cpu --build-arg TORCH_CPU_INDEX=<index> .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/venv/bin:$PATH
WORKDIR /app

# The dependencies, without the source: they are built again only when these files change.
FROM base AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./

FROM dependencies AS dependencies-cpu
ARG TORCH_CPU_INDEX=""
RUN if [ -n "$TORCH_CPU_INDEX" ]; then \
      pip install --index-url "$TORCH_CPU_INDEX" --constraint constraints.txt torch torchvision; \
    fi
RUN pip install --constraint constraints.txt ".[postgres,s3]"

FROM dependencies AS dependencies-cuda
RUN pip install --constraint constraints.txt ".[postgres,s3]"

# The program: a user without rights, its state in one volume.
FROM base AS program
# Chinese, Japanese and Korean in the PDF of a report (Apache 2.0, 5 MB).
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin dfd \
    && install -d -o dfd -g dfd -m 700 /var/lib/dfd
ENV DFD_VAR=/var/lib/dfd \
    DFD_LOG_JSON=true \
    DFD_REPORT_FONT=/usr/share/fonts/truetype/wqy/wqy-microhei.ttc \
    DJANGO_SETTINGS_MODULE=dfdsite.settings \
    REMAP_SIGTERM=SIGQUIT
COPY --chown=root:root LICENSE README.md pyproject.toml manage.py ./
COPY --chown=root:root dfdsite dfdsite
COPY --chown=root:root ml ml
COPY --chown=root:root detection detection
COPY --chown=root:root worker worker
USER dfd
VOLUME /var/lib/dfd
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["gunicorn", "dfdsite.wsgi", "--bind=0.0.0.0:8000", "--worker-class=gthread", "--workers=2", "--threads=8", \
     "--limit-request-line=8190", "--timeout=120", "--graceful-timeout=20", "--no-control-socket"]

FROM program AS cpu
ENV DFD_DEVICE=cpu
COPY --from=dependencies-cpu /venv /venv

FROM program AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies-cuda /venv /venv
