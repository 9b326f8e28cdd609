#!/usr/bin/env bash
# Builds the base images of docker/ under their usual tags, for machines that cannot pull them: from Debian's packages,
# with debootstrap (Python 3.11, PostgreSQL 15, Redis 7.0). Run as root. It takes some minutes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_image() { # tag, packages, a user and a folder of its own or "", options of docker import ...
    local tag=$1 packages=$2 owned=$3 root=$work/root
    shift 3
    rm -rf "$root"
    cp -a "$work/base" "$root"
    [ ! -d "$work/files" ] || cp -a "$work/files/." "$root/"
    chroot "$root" sh -euc "
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages > /dev/null
        rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/*"
    # A volume takes over the owner of the image's folder.
    [ -z "$owned" ] || chroot "$root" install --directory --mode=700 --owner="${owned%%:*}" "${owned#*:}"
    # As in the official image: what is mounted there takes over the mode.
    [ ! -d "$root/run/postgresql" ] || chmod 3777 "$root/run/postgresql"
    tar -C "$root" -c . | docker import "$@" - "$tag" > /dev/null
    rm -rf "$root" "$work/files"
    echo "$tag"
}

debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" > /dev/null

make_image python:3.11-slim-bookworm "python3.11 python3-venv python-is-python3 libgomp1" ""

mkdir -p "$work/files/usr/local/bin"
cat > "$work/files/usr/local/bin/start-postgres" <<'EOF'
#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 > /dev/null
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*'
EOF
chmod +x "$work/files/usr/local/bin/start-postgres"
make_image postgres:15-bookworm "postgresql-15" postgres:/var/lib/postgresql/data \
    --change "ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin" \
    --change "ENV PGDATA=/var/lib/postgresql/data" \
    --change 'ENTRYPOINT ["start-postgres"]'

make_image redis:7.0-bookworm redis-server redis:/data --change "WORKDIR /data"
