#!/usr/bin/env bash
# Builds the image: build.sh [TAG ...]   (default: monedula:0.1.0 monedula:8.1.0 monedula:latest)
#
# Needs Rust, Docker and, for busybox and bash, Debian's packages (apt-get); no image registry. The alias 8.1.0 is there
# because two modules of Testcontainers read the tag as a Confluent version.
#   MONEDULA_BINARY  a static binary that exists already; otherwise one is built
#   CONTEXT          a folder for the build context, kept: for `docker buildx build` elsewhere; no image is built then
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
tags=("$@"); [ ${#tags[@]} -gt 0 ] || tags=(monedula:0.1.0 monedula:8.1.0 monedula:latest)
work=$(mktemp -d "${TMPDIR:-/tmp}/monedula-image.XXXXXX"); trap 'rm -rf "$work"' EXIT

binary=${MONEDULA_BINARY:-}
# Functions that are the same become one; Rust's linker on this kind of machine can, that of others may not.
small=; [ "$(uname -m)" != x86_64 ] || small="-C link-arg=-Wl,--icf=all"
if [ -z "$binary" ]; then
  target="$(uname -m)-unknown-linux-gnu"
  RUSTFLAGS="$(cat "$here/rustflags") $small" cargo build --manifest-path "$root/Cargo.toml" --release --target "$target" --target-dir "$root/target/image"
  binary=$root/target/image/$target/release/monedula
fi

# Debian's own static builds, unpacked, not installed; kept between builds.
packages=${XDG_CACHE_HOME:-$HOME/.cache}/monedula-image/$(uname -m)
if [ ! -x "$packages/bin/busybox" ] || [ ! -x "$packages/bin/bash-static" ]; then
  mkdir -p "$packages"
  (cd "$work" && apt-get download -q busybox-static bash-static >&2 && for file in ./*.deb; do dpkg-deb -x "$file" "$packages"; done)
fi

fs=$work/rootfs
mkdir -p "$fs"/{bin,sbin,usr/bin,usr/sbin,usr/local/bin,usr/local/sbin,etc,tmp,proc,sys,dev,root,home/appuser} \
         "$fs"/opt/kafka/{bin,config,logs} "$fs"/etc/kafka/{docker,secrets} "$fs"/etc/confluent/docker \
         "$fs"/mnt/shared/config "$fs"/var/lib/kafka/data "$fs"/var/log
cp "$packages/bin/busybox" "$fs/bin/busybox"
cp "$packages/bin/bash-static" "$fs/bin/bash"
# Not busybox: its shell takes its own nc before one that health checks can use.
ln -s bash "$fs/bin/sh"
for name in $("$packages/bin/busybox" --list); do [ -e "$fs/bin/$name" ] || ln -s busybox "$fs/bin/$name"; done
ln -s /bin/env "$fs/usr/bin/env"
ln -s /bin/bash "$fs/usr/bin/bash"
cp "$binary" "$fs/usr/bin/monedula"
# The names of its functions are for whoever profiles it.
! command -v strip >/dev/null || strip "$fs/usr/bin/monedula"
for name in $("$binary" tool-names); do
  ln -s monedula "$fs/usr/bin/$name"
  ln -s /usr/bin/monedula "$fs/opt/kafka/bin/$name.sh"
done
cp -r "$here"/rootfs/. "$fs/"
chmod 755 "$fs"/__cacert_entrypoint.sh "$fs"/usr/bin/monedula "$fs"/usr/local/bin/nc "$fs"/bin/busybox "$fs"/bin/bash "$fs"/etc/kafka/docker/* "$fs"/etc/confluent/docker/*
printf 'root:x:0:0:root:/root:/bin/sh\nappuser:x:1000:0:appuser:/home/appuser:/bin/bash\n' > "$fs/etc/passwd"
printf 'root:x:0:\n' > "$fs/etc/group"
printf 'hosts: files dns\n' > "$fs/etc/nsswitch.conf"
# Written by the image's user, or by any user of group 0, as some platforms run it.
theirs=(home opt etc/kafka etc/confluent mnt/shared var/lib/kafka usr/local)
(cd "$fs" && chmod -R g+rwX "${theirs[@]}" && chmod 1777 tmp)
tar -C "$fs" --numeric-owner --owner=0 --group=0 --exclude-from=<(printf './%s\n' "${theirs[@]}") -cf "$work/rootfs.tar" .
tar -C "$fs" --numeric-owner --owner=1000 --group=0 -rf "$work/rootfs.tar" "${theirs[@]}"

context=${CONTEXT:-$work/context}
mkdir -p "$context"
cp "$here/Dockerfile" "$work/rootfs.tar" "$context/"
[ -z "${CONTEXT:-}" ] || { echo "context in $context"; exit; }
DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} docker build -q -t "${tags[0]}" "$context"
size=$(docker image inspect -f '{{.Size}}' "${tags[0]}")
# What the README promises; a binary from elsewhere may be one that is made for something else.
if [ -z "${MONEDULA_BINARY:-}" ] && [ "$size" -gt 15000000 ]; then echo "the image has $size bytes, 15000000 were promised" >&2; exit 1; fi
for tag in "${tags[@]:1}"; do docker tag "${tags[0]}" "$tag"; done
docker image inspect -f '{{.RepoTags}} {{.Size}} bytes' "${tags[0]}"
