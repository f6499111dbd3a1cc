# hdrvid on a CPU. TORCH_INDEX is the address of PyTorch's own index of CPU builds: the other build is gigabytes of CUDA.
#
#     docker build --build-arg TORCH_INDEX=ADDRESS -t hdrvid .
#     docker run --rm -v "$PWD:/data" hdrvid info shot.mov

FROM python:3.12-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/hdrvid
ENV PATH=/opt/hdrvid/bin:$PATH
COPY constraints.txt ./
ARG TORCH_INDEX
RUN pip install --no-cache-dir --constraint constraints.txt torch --index-url "${TORCH_INDEX:?give --build-arg TORCH_INDEX=ADDRESS}"
COPY pyproject.toml README.md LICENSE ./
COPY hdrvid hdrvid
COPY weights weights
RUN pip install --no-cache-dir --constraint constraints.txt ".[raw]"

FROM python:3.12-slim-bookworm
COPY --from=build /opt/hdrvid /opt/hdrvid
ENV PATH=/opt/hdrvid/bin:$PATH NUMBA_CACHE_DIR=/cache
RUN useradd --create-home --uid 1000 hdrvid && mkdir --mode=1777 /cache /data
USER 1000
WORKDIR /data
ENTRYPOINT ["hdrvid"]
CMD ["--help"]
