# syntax=docker/dockerfile:1
#   docker build --target service --tag rfvae/service:0.1.0 .
#   docker run --env RFVAE_API_KEY_HASHES=HASH --publish 8000:8000 rfvae/service:0.1.0
# The service listens on every address, so it starts only with a key (`rfvae-serve key`) or with RFVAE_AUTH=off.
# Targets: service (the default; CPU, no torch, no compiler), service-gpu, training.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04


FROM ${PYTHON_IMAGE} AS python
ENV PYTHONUNBUFFERED=1


FROM python AS build
WORKDIR /src
COPY constraints.txt pyproject.toml ./
COPY deploy/install.sh deploy/


FROM build AS build-service
RUN sh deploy/install.sh /opt/rfvae cpu
COPY . .
RUN sh deploy/install.sh /opt/rfvae


FROM build AS build-training
RUN sh deploy/install.sh /opt/rfvae cpu,train,export
COPY . .
RUN sh deploy/install.sh /opt/rfvae


FROM python AS training
LABEL org.opencontainers.image.title="rfvae training" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build-training /opt/rfvae /opt/rfvae
COPY training/configs /configs
# A named volume takes this owner over; 65532 may write its runs and nothing else.
RUN install -d -o 65532 -g 65532 /runs
ENV PATH=/opt/rfvae/bin:${PATH} HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
USER 65532:65532
WORKDIR /runs
CMD ["rfvae-train", "run", "/configs/oval-dsprites.toml", "--out", "/runs/oval-dsprites"]


# The CUDA libraries come as wheels, in the versions that ONNX Runtime's own metadata asks for, so that the image
# runs what `make serve` runs on a GPU; NVIDIA's base tells the container runtime to bring the driver.
FROM ${CUDA_IMAGE} AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*


FROM cuda AS build-service-gpu
WORKDIR /src
COPY constraints.txt pyproject.toml ./
COPY deploy/install.sh deploy/
RUN sh deploy/install.sh /opt/rfvae gpu
COPY . .
RUN sh deploy/install.sh /opt/rfvae


# The same base less pip: Ubuntu removes a package's old versions, so none is pinned.
FROM ${CUDA_IMAGE} AS service-gpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="rfvae service on CUDA" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build-service-gpu /opt/rfvae /opt/rfvae
ENV PATH=/opt/rfvae/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 \
    RFVAE_HOST=0.0.0.0 RFVAE_PORT=8000 RFVAE_LOG_FORMAT=json RFVAE_DEVICE=cuda
USER 65532:65532
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "service.probe"]
ENTRYPOINT ["rfvae-serve"]
CMD ["serve"]


FROM python AS service
LABEL org.opencontainers.image.title="rfvae service" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build-service /opt/rfvae /opt/rfvae
ENV PATH=/opt/rfvae/bin:${PATH} HOME=/tmp \
    RFVAE_HOST=0.0.0.0 RFVAE_PORT=8000 RFVAE_LOG_FORMAT=json
USER 65532:65532
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "service.probe"]
# Exec form: the server is process 1 and gets SIGTERM itself; it then drains.
ENTRYPOINT ["rfvae-serve"]
CMD ["serve"]
