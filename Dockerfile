# One image for the server, the worker and the migrations; the command chooses.

FROM python:3.11-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/segue
WORKDIR /src
# The dependencies change seldom: a layer of their own.
COPY requirements-runtime.lock requirements.lock ./
RUN /opt/segue/bin/pip install --require-hashes --requirement requirements-runtime.lock
# The build backend, at the locked version, in an environment that is thrown away.
RUN python -m venv /opt/build \
    && awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } keep' requirements.lock \
        > build.lock \
    && /opt/build/bin/pip install --require-hashes --no-deps --requirement build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY migrations migrations
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/segue/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
# faiss and scikit-learn need OpenMP's shared library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /home/segue --uid 10001 segue \
    && install --directory --owner segue --group segue /var/lib/segue
COPY --from=build /opt/segue /opt/segue
ENV PATH=/opt/segue/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/lib/segue/numba \
    SEGUE_DATA_DIR=/var/lib/segue \
    SEGUE_HOST=0.0.0.0 \
    SEGUE_PORT=8000 \
    SEGUE_LOG_FORMAT=json
USER segue
WORKDIR /home/segue
VOLUME /var/lib/segue
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SEGUE_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
# Stopped by SIGTERM: requests under way are answered, work under way is finished or handed back.
STOPSIGNAL SIGTERM
ENTRYPOINT ["segue"]
CMD ["serve", "--with-worker"]
