# One image for the build, the API, the dashboard and the docs: docker-compose.yml names the command of each.
FROM python:3.13-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home granary
WORKDIR /granary

# Requirements change less often than the project: a layer of their own, which most builds of the image don't make again.
COPY requirements.txt ./
COPY requirements requirements
COPY scripts/setup.sh scripts/
RUN export PIP_NO_CACHE_DIR=1 \
    && scripts/setup.sh --api \
    && scripts/setup.sh --dashboard

# The project belongs to root, so that nobody who takes over a service can change it; these are what it writes to.
COPY . .
RUN bin/dbt deps --once \
    && install --directory --owner=granary --group=granary dbt/logs dbt/target output
USER granary

CMD ["bin/api", "--host", "0.0.0.0"]
