#!/usr/bin/env bash
# Builds the image: build.sh [TAG ...]   (default: monedula:0.1.0 monedula:8.1.0 monedula:latest)
#
# Needs Docker. On Debian and Ubuntu with Rust it needs no image registry: the program is compiled here, busybox and bash come
# from Debian's packages. On every other machine both happen in a container of the image rust:bookworm.
# The alias 8.1.0 is there because two modules of Testcontainers read the tag as a Confluent version.
#   MONEDULA_BINARY  a static Linux binary that exists already; without it one is built
#   MONEDULA_TARGET  aarch64-unknown-linux-gnu or x86_64-unknown-linux-gnu: the kind of machine that the image is for.
#                    For another kind than this machine's, Rust's target and gcc-aarch64-linux-gnu (or gcc-x86-64-linux-gnu)
#                    must be installed
#   CONTEXT          a folder for the build context, kept: for `docker buildx build` elsewhere; no image is built then
#   SIZE_MAX         bytes that the image may have; 15000000 if it is not given
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
tags=("$@"); [ ${#tags[@]} -gt 0 ] || tags=(monedula:0.1.0 monedula:8.1.0 monedula:latest)
work=$(mktemp -d "${TMPDIR:-/tmp}/monedula-image.XXXXXX"); trap 'rm -rf "$work"' EXIT
size_max=${SIZE_MAX:-15000000}

has() { command -v "$1" >/dev/null; }
fail() { echo "build.sh: $*" >&2; exit 1; }

machine=$(uname -m); [ "$machine" != arm64 ] || machine=aarch64
own=$machine-unknown-linux-gnu
target=${MONEDULA_TARGET:-$own}
binary=${MONEDULA_BINARY:-}
case $target in
  x86_64-*) debian=amd64 elf=62 ;;
  aarch64-*) debian=arm64 elf=183 ;;
  *) fail "MONEDULA_TARGET: no image is made for $target" ;;
esac

# number FILE OFFSET BYTES: an unsigned number in a file
number() { od -An "-tu$3" "-j$2" "-N$3" "$1" | tr -d ' '; }

# Refuses a program that would not start in an image without libraries.
check_binary() {
  [ -f "$1" ] || fail "MONEDULA_BINARY: there is no file $1"
  [ "$(od -An -tx1 -N4 "$1" | tr -d ' ')" = 7f454c46 ] || fail "$1 is not a Linux program"
  [ "$(number "$1" 18 2)" = "$elf" ] || fail "$1 is for another kind of processor than $target"
  local headers size count n
  headers=$(number "$1" 32 8) size=$(number "$1" 54 2) count=$(number "$1" 56 2)
  for ((n = 0; n < count; n++)); do
    # 3 is PT_INTERP: the path of a dynamic linker, which the image does not have.
    [ "$(number "$1" $((headers + n * size)) 4)" != 3 ] ||
      fail "$1 is dynamically linked and would not start in the image; build it with RUSTFLAGS=\"\$(cat docker/rustflags)\" cargo build --profile dist --target $target"
  done
}

compile() {
  # Equal functions become one. Rust's own linker on x86-64 can do that; other linkers may not.
  local flags; flags=$(cat "$here/rustflags")
  if [ "$target" = x86_64-unknown-linux-gnu ] && [ "$target" = "$own" ]; then flags+=" -C link-arg=-Wl,--icf=all"; fi
  if [ "$target" != "$own" ]; then
    local gcc=${target/-unknown/}-gcc
    has "$gcc" || fail "$target needs $gcc: apt-get install gcc-$(cut -d- -f1 <<< "$target" | tr _ -)-linux-gnu"
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<< "$target")_LINKER=$gcc" "CC_${target//-/_}=$gcc"
  fi
  RUSTFLAGS="$flags" cargo build --manifest-path "$root/Cargo.toml" --profile dist --target "$target" --target-dir "$root/target/image"
  binary=$root/target/image/$target/dist/monedula
}

# Makes the context in a container with Rust and Debian's packages.
context_in_a_container() {
  local mounts=(-v "$root:/monedula" -v "$1:/context" -v monedula-build-cargo:/usr/local/cargo/registry -v monedula-build-target:/monedula/target)
  local variables=(-e CONTEXT=/context -e MONEDULA_INSIDE=1)
  [ -z "$binary" ] || { mounts+=(-v "$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary"):/binary:ro") variables+=(-e MONEDULA_BINARY=/binary); }
  docker run --rm --platform "linux/$debian" "${mounts[@]}" "${variables[@]}" "${BUILDER:-rust:bookworm}" /monedula/docker/build.sh
}

# debian_programs KIND FOLDER: Debian's static busybox and bash, unpacked into a folder, not installed; kept between builds.
debian_programs() {
  [ ! -x "$2/bin/busybox" ] || [ ! -x "$2/bin/bash-static" ] || return 0
  local lists=$work/apt-$1 options=()
  mkdir -p "$2" "$lists"
  if [ "$1" != "$(dpkg --print-architecture)" ]; then
    mkdir -p "$lists/lists/partial"
    options=(-o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State::lists=$lists/lists")
  fi
  download() { (cd "$lists" && apt-get ${options[@]+"${options[@]}"} download -q busybox-static bash-static >&2); }
  # A fresh machine has no lists of packages.
  download 2>/dev/null || { apt-get ${options[@]+"${options[@]}"} update -q >&2; download; }
  for file in "$lists"/*.deb; do dpkg-deb -x "$file" "$2"; done
}

# context FOLDER: the root file system and the Dockerfile
context() {
  [ -n "$binary" ] || compile
  check_binary "$binary"
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/monedula-image
  local packages=$cache/$debian lister=$cache/$debian fs=$work/rootfs names
  debian_programs "$debian" "$packages"
  if [ "$target" = "$own" ]; then
    names=$("$binary" tool-names)
  else
    # Programs for another kind of machine do not run here: those of this machine say the names.
    lister=$cache/$(dpkg --print-architecture)
    debian_programs "$(dpkg --print-architecture)" "$lister"
    names=$(cargo run --quiet --manifest-path "$root/Cargo.toml" -- tool-names)
  fi
  mkdir -p "$fs"/{bin,sbin,usr/bin,usr/sbin,usr/local/bin,usr/local/sbin,etc,tmp,proc,sys,dev,root,home/appuser} \
           "$fs"/opt/kafka/{bin,config,logs} "$fs"/etc/kafka/{docker,secrets} "$fs"/etc/confluent/docker \
           "$fs"/mnt/shared/config "$fs"/var/lib/kafka/data "$fs"/var/log
  cp "$packages/bin/busybox" "$fs/bin/busybox"
  cp "$packages/bin/bash-static" "$fs/bin/bash"
  # Not busybox: its shell takes its own nc before one that health checks can use.
  ln -s bash "$fs/bin/sh"
  for name in $("$lister/bin/busybox" --list); do [ -e "$fs/bin/$name" ] || ln -s busybox "$fs/bin/$name"; done
  ln -s /bin/env "$fs/usr/bin/env"
  ln -s /bin/bash "$fs/usr/bin/bash"
  cp "$binary" "$fs/usr/bin/monedula"
  # The names of its functions are for whoever profiles it.
  if [ "$target" = "$own" ] && has strip; then strip "$fs/usr/bin/monedula"; fi
  for name in $names; do
    ln -s monedula "$fs/usr/bin/$name"
    ln -s /usr/bin/monedula "$fs/opt/kafka/bin/$name.sh"
  done
  cp -r "$here"/rootfs/. "$fs/"
  chmod 755 "$fs"/__cacert_entrypoint.sh "$fs"/usr/bin/monedula "$fs"/usr/local/bin/nc "$fs"/bin/busybox "$fs"/bin/bash "$fs"/etc/kafka/docker/* "$fs"/etc/confluent/docker/*
  printf 'root:x:0:0:root:/root:/bin/sh\nappuser:x:1000:0:appuser:/home/appuser:/bin/bash\n' > "$fs/etc/passwd"
  printf 'root:x:0:\n' > "$fs/etc/group"
  printf 'hosts: files dns\n' > "$fs/etc/nsswitch.conf"
  # Written by the image's user, or by any user of group 0, as some platforms run it.
  local theirs=(home opt etc/kafka etc/confluent mnt/shared var/lib/kafka usr/local)
  (cd "$fs" && chmod -R g+rwX "${theirs[@]}" && chmod 1777 tmp)
  tar -C "$fs" --numeric-owner --owner=0 --group=0 --exclude-from=<(printf './%s\n' "${theirs[@]}") -cf "$work/rootfs.tar" .
  tar -C "$fs" --numeric-owner --owner=1000 --group=0 -rf "$work/rootfs.tar" "${theirs[@]}"
  mkdir -p "$1"
  cp "$here/Dockerfile" "$work/rootfs.tar" "$1/"
}

[ -z "$binary" ] || check_binary "$binary"
folder=${CONTEXT:-$work/context}
mkdir -p "$folder"
if [ -n "${MONEDULA_INSIDE:-}" ] || { [ "$(uname -s)" = Linux ] && has apt-get && has dpkg-deb && { [ -n "$binary" ] || has cargo; }; }; then
  context "$folder"
else
  has docker || fail "docker is not installed"
  context_in_a_container "$(cd "$folder" && pwd)"
fi
[ -z "${CONTEXT:-}" ] || { echo "context in $CONTEXT"; exit; }

has docker || fail "docker is not installed"
platform=(); [ "$target" = "$own" ] || platform=(--platform "linux/$debian")
DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} docker build -q ${platform[@]+"${platform[@]}"} -t "${tags[0]}" "$folder"
size=$(docker image inspect -f '{{.Size}}' "${tags[0]}")
[ "$size" -le "$size_max" ] || fail "the image ${tags[0]} has $size bytes, more than $size_max (SIZE_MAX)"
for tag in "${tags[@]:1}"; do docker tag "${tags[0]}" "$tag"; done
docker image inspect -f '{{.RepoTags}} {{.Size}} bytes' "${tags[0]}"
