# One image for the build, the API, the dashboard and the docs; docker-compose.yml has the command of each.
FROM python:3.13-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home granary
WORKDIR /granary

# A separate layer: requirements change less often than the rest, so most builds of the image can reuse it.
COPY requirements.txt ./
COPY requirements requirements
COPY scripts/setup.sh scripts/
RUN export PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 \
    && scripts/setup.sh --api \
    && scripts/setup.sh --dashboard

# The project belongs to root, so that a compromised service can't change it. It can write only to the directories below.
COPY . .
RUN bin/dbt deps --once \
    && install --directory --owner=granary --group=granary dbt/logs dbt/target output
USER granary

CMD ["bin/api", "--host", "0.0.0.0"]
