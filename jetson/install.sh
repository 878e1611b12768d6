#!/usr/bin/env bash
# Installs edge_runtime on a Jetson beside JetPack's own TensorRT and OpenCV. Safe to run again.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: install.sh (--wheel FILE | --source DIR) [--prefix DIR] [--dry-run]

  --wheel FILE   a built wheel of dmnil-edge
  --source DIR   a checkout of the repository; building it fetches hatchling
  --prefix DIR   where the virtual environment goes (default /opt/dmnil-edge)
  --dry-run      check the machine, print every command, change nothing

Checks JetPack (6.1 or newer), Python and TensorRT before it changes anything. Installs what
is missing of the system's packages, a virtual environment that sees them, the user dmnil, and
the service dmnil-edge, which it neither enables nor starts.

DMNIL_ROOT=DIR takes DIR for / in all that is read and written, as DESTDIR does; packages,
accounts and systemd are then left alone.
USAGE
}

folder="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly folder
readonly root="${DMNIL_ROOT:-}"
readonly user=dmnil
readonly unit=dmnil-edge.service
readonly default_prefix=/opt/dmnil-edge
readonly python="$root/usr/bin/python3"
prefix="$default_prefix"
package=
dry_run=false
jetpack=

say() { printf '%s\n' "$*"; }

# What is wrong, where, and what to do about it, on one line.
die() {
    printf 'install.sh: error: %s\n' "$*" >&2
    exit 2
}

# Runs a command, or prints it.
run() {
    if $dry_run; then
        printf '+'
        printf ' %q' "$@"
        printf '\n'
    else
        "$@"
    fi
}

# Runs a command that changes the system itself, which a DMNIL_ROOT stands apart from.
run_on_system() {
    if [[ -n $root ]] && ! $dry_run; then
        say "left out below DMNIL_ROOT: $*"
    else
        run "$@"
    fi
}

# Writes standard input to a file of that mode, if it says anything new.
write_file() {
    local mode=$1 path=$2 content
    content="$(cat)"
    if [[ -f $path && "$(cat "$path")" == "$content" ]]; then
        return
    fi
    if $dry_run; then
        say "+ write $path"
        return
    fi
    mkdir -p "$(dirname "$path")"
    printf '%s\n' "$content" >"$path.new"
    chmod "$mode" "$path.new"
    mv "$path.new" "$path"
}

parse_arguments() {
    while (($#)); do
        case $1 in
            --wheel | --source | --prefix)
                (($# > 1)) || die "$1 needs a value; --help lists the options"
                if [[ $1 == --prefix ]]; then
                    prefix="${2%/}"
                else
                    [[ -z $package ]] || die "give --wheel or --source once"
                    package="$2"
                    check_package "$1"
                fi
                shift 2
                ;;
            --dry-run)
                dry_run=true
                shift
                ;;
            --help | -h)
                usage
                exit 0
                ;;
            *) die "unknown option $1; --help lists the options" ;;
        esac
    done
    [[ -n $package ]] || die "say what to install: --wheel FILE or --source DIR"
    [[ $prefix =~ ^/[A-Za-z0-9/._+-]+$ ]] ||
        die "--prefix must be an absolute path of plain characters, is '$prefix'"
    case "$prefix/" in
        /home/* | /root/* | /run/user/*)
            die "--prefix $prefix: the service cannot see home folders; choose another, as /opt"
            ;;
    esac
}

check_package() {
    case $1 in
        --wheel)
            [[ -f $package ]] || die "$package: no such file; pip wheel --no-deps . makes the wheel"
            [[ $package == *.whl ]] || die "$package is not a wheel"
            ;;
        --source) [[ -f $package/pyproject.toml ]] || die "$package holds no pyproject.toml" ;;
    esac
}

# Version of an installed Debian package; nothing where there is none.
package_version() {
    # shellcheck disable=SC2016  # these are dpkg-query's own variables
    local format='${db:Status-Status} ${Version}'
    { dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat="$format" "$1" 2>/dev/null ||
        true; } | sed -n 's/^installed //p'
}

check_jetpack() {
    local file="$root/etc/nv_tegra_release" line major minor
    [[ -r $file ]] || die "this is not a Jetson (no $file): pip install the wheel instead"
    line="$(head -n 1 "$file")"
    [[ $line =~ R([0-9]+)\ \(release\),\ REVISION:\ ([0-9]+)(\.[0-9]+)? ]] ||
        die "$file tells no version: '$line'"
    major="${BASH_REMATCH[1]}" minor="${BASH_REMATCH[2]}"
    local linux="Jetson Linux $major.$minor${BASH_REMATCH[3]:-}"
    if ((major < 36)); then
        die "$linux is JetPack 5 or older, whose TensorRT 8 is too old: flash JetPack 6.1 or newer"
    elif ((major == 36 && minor < 4)); then
        die "$linux is JetPack 6.0, whose TensorRT 8.6 is too old: flash JetPack 6.1 or newer"
    elif ((major == 36)); then
        jetpack=6
    elif ((major <= 39)); then
        jetpack=7
    else
        jetpack=unknown
        say "warning: $linux is newer than this installer knows; it goes on by what it finds"
    fi
    say "found $linux (JetPack $jetpack)"
}

# The system's TensorRT and OpenCV are built for the system's Python and for no other.
check_python() {
    local expected='' version
    [[ -x $python ]] || die "$python is missing: apt-get install python3"
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    case $jetpack in
        6) expected=3.10 ;;
        7) expected=3.12 ;;
    esac
    [[ -z $expected || $version == "$expected" ]] ||
        die "$python is Python $version, but JetPack $jetpack's TensorRT and OpenCV are for" \
            "$expected: make $python the system's own again"
    say "found Python $version"
}

check_tensorrt() {
    local version
    version="$(package_version python3-libnvinfer)"
    if [[ -z $version ]]; then
        say "TensorRT's Python bindings are missing; they will be installed"
        return
    fi
    ((${version%%.*} >= 10)) ||
        die "TensorRT $version is older than 10: flash JetPack 6.1 or newer"
    say "found TensorRT $version"
}

check_rights() {
    if ! $dry_run && [[ -z $root ]] && ((EUID != 0)); then
        die "this changes the system: run it with sudo, or with --dry-run to see what it would do"
    fi
}

# Whether the system's own OpenCV reads GStreamer pipelines, whichever package it came from.
system_opencv_will_do() {
    "$python" -c 'import cv2, re, sys
sys.exit(not re.search(r"GStreamer:\s*YES", cv2.getBuildInformation()))' 2>/dev/null
}

install_system_packages() {
    local name missing=()
    # GStreamer's Python bindings and elements: cameras and streams are captured by them.
    for name in python3-venv python3-libnvinfer python3-gi gir1.2-gst-plugins-base-1.0 \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad; do
        [[ -n "$(package_version "$name")" ]] || missing+=("$name")
    done
    system_opencv_will_do || missing+=(nvidia-opencv)
    if ((${#missing[@]})); then
        run_on_system apt-get update
        run_on_system env DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends "${missing[@]}"
    fi
}

create_user() {
    local group
    if ! grep -q "^$user:" "$root/etc/passwd"; then
        run_on_system useradd --system --user-group --home-dir /var/lib/dmnil-edge \
            --shell /usr/sbin/nologin "$user"
    fi
    for group in video dialout render; do
        if grep -q "^$group:" "$root/etc/group"; then
            run_on_system usermod --append --groups "$group" "$user"
        fi
    done
}

# JetPack's packages are only seen through --system-site-packages.
create_environment() {
    local environment="$root$prefix/venv" wanted found=none
    wanted="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    if [[ -x $environment/bin/python ]]; then
        found="$("$environment/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ||
            found=broken
    fi
    if [[ $found != "$wanted" ]]; then
        run "$python" -m venv --system-site-packages --clear "$environment"
    fi
}

pip_install() {
    run "$root$prefix/venv/bin/python" -m pip --disable-pip-version-check install "$@"
}

# What pip must bring beside JetPack's packages, from the installed wheel's own metadata.
write_requirements() {
    local file=$1
    shift
    if $dry_run; then
        say "+ $root$prefix/venv/bin/python $folder/pip_requirements.py $* >$file"
    else
        "$root$prefix/venv/bin/python" "$folder/pip_requirements.py" "$@" | write_file 0644 "$file"
    fi
}

# Our wheel asks for PyPI's OpenCV, which has no GStreamer and would hide JetPack's: so the wheel
# comes without its requirements, and then all of them but that one.
# JetPack's OpenCV was built for the system's numpy; another major version of it cannot load.
install_package() {
    local requirements="$root$prefix/requirements.txt" constraints="$root$prefix/constraints.txt"
    local numpy_major
    numpy_major="$("$python" -c 'import numpy; print(numpy.__version__.split(".")[0])' 2>/dev/null)" ||
        numpy_major=1
    pip_install --no-deps --force-reinstall "$package"
    write_requirements "$requirements" mavlink search signing
    write_file 0644 "$constraints" <<<"numpy<$((numpy_major + 1))"
    say "pip will miss opencv-python-headless: JetPack's own OpenCV takes its place"
    pip_install --requirement "$requirements" --constraint "$constraints"
}

# pycuda has no wheels and is built by CUDA's compiler; where that is missing or fails, NVIDIA's
# bindings serve, of the CUDA that this JetPack has.
install_device_buffers() {
    local cuda="$root/usr/local/cuda" requirements="$root$prefix/requirements-jetson.txt" bindings
    local constraints="$root$prefix/constraints.txt"
    case $jetpack in
        6) bindings='cuda-bindings>=12.6,<13' ;;
        *) bindings='cuda-bindings>=13,<14' ;;
    esac
    write_requirements "$requirements" --extra-alone jetson
    if [[ -x $cuda/bin/nvcc ]]; then
        if run env PATH="$cuda/bin:$PATH" CUDA_ROOT="$cuda" \
            "$root$prefix/venv/bin/python" -m pip --disable-pip-version-check install \
            --requirement "$requirements" --constraint "$constraints"; then
            return
        fi
        say "pycuda could not be built; NVIDIA's cuda-bindings take its place"
    fi
    pip_install --constraint "$constraints" "$bindings"
}

install_settings() {
    local name
    for name in edge.yaml environment; do
        # The owner's own settings are never overwritten.
        if [[ ! -e $root/etc/dmnil-edge/$name ]]; then
            run install -D -m 0644 "$folder/$name" "$root/etc/dmnil-edge/$name"
        fi
    done
    # What the service flies lies in its own folder.
    run install -d "$root/var/lib/dmnil-edge"
    run ln -sfn /etc/dmnil-edge/edge.yaml "$root/var/lib/dmnil-edge/edge.yaml"
}

# GPU devices have other names on every JetPack, so the service is let at those that are here.
device_list() {
    local device
    say "# The GPU's devices on this machine; written by install.sh, run it again after an update."
    say "[Service]"
    shopt -s nullglob
    for device in "$root"/dev/{nvmap,nvhost*,nvgpu/*/*,nvidia*,nvsci*,host1x*}; do
        [[ -d $device ]] || say "DeviceAllow=${device#"$root"} rw"
    done
    shopt -u nullglob
}

install_service() {
    local units="$root/etc/systemd/system"
    sed "s|$default_prefix|$prefix|g" "$folder/$unit" | write_file 0644 "$units/$unit"
    device_list | write_file 0644 "$units/$unit.d/10-devices.conf"
    run_on_system systemctl daemon-reload
    run ln -sfn "$prefix/venv/bin/edge_runtime" "$root/usr/local/bin/edge_runtime"
}

# What is still missing for a flight is for the owner to read, and no failure of the installation.
examine() {
    run_on_system "$prefix/venv/bin/edge_runtime" doctor ||
        say "the lines above that begin with 'fail' keep this machine from flying"
}

next_steps() {
    say "Installed. Next:"
    say "  edge_runtime doctor --bundle NAME.encoder --map NAME.map"
    say "  sudo editor /etc/dmnil-edge/edge.yaml"
    say "  sudo systemctl enable --now dmnil-edge    # flies; restart it after an update"
}

main() {
    parse_arguments "$@"
    check_jetpack
    check_python
    check_tensorrt
    check_rights
    install_system_packages
    create_user
    create_environment
    install_package
    install_device_buffers
    install_settings
    install_service
    examine
    $dry_run || next_steps
}

main "$@"
