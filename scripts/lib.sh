# shellcheck shell=bash
# What the scripts in this folder share: finding a Python, and keeping the project's virtual
# environments in step with pyproject.toml. Sourced, not run. Needs bash and Python, no more.

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
CONSTRAINTS="$ROOT/requirements/constraints.txt"
# The minor versions of Python 3 that the project supports, the one to prefer first.
MINORS=(13 12 11)

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# --- interpreters ---------------------------------------------------------------------------

# probe COMMAND: the real path of that Python, if it runs (a version manager may put a command
# on PATH that only says no), is new enough and can make virtual environments. It looks through
# a virtual environment at the Python behind it, for the environment may be the one to replace.
probe() {
    "$1" -I -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
import ensurepip, venv
ensurepip.version()
print(getattr(sys, "_base_executable", None) or sys.executable)
' 2>/dev/null </dev/null
}

# identity COMMAND: "3.12.1 /its/prefix"; shows which Python an environment was made by.
identity() {
    "$1" -I -c '
import os, sys
print("%d.%d.%d" % sys.version_info[:3], os.path.realpath(sys.base_prefix))
' 2>/dev/null </dev/null
}

# candidates MINOR: every command that may be Python 3.MINOR, one a line.
candidates() {
    local pyenv_root="${PYENV_ROOT:-${HOME:-}/.pyenv}" path
    type -aP "python3.$1" || true
    if command -v pyenv >/dev/null; then
        pyenv_root="$(pyenv root 2>/dev/null)" || pyenv_root=""
    fi
    for path in "$pyenv_root/versions/3.$1".*/bin/"python3.$1"; do
        if [[ -x "$path" ]]; then printf '%s\n' "$path"; fi
    done
}

# find_minor MINOR: the path of a working Python 3.MINOR; fails if there is none.
find_minor() {
    local command
    while IFS= read -r command; do
        probe "$command" && return
    done < <(candidates "$1")
    return 1
}

# find_python: the path of the Python to use: $PYTHON if set, otherwise the newest supported.
find_python() {
    local minor command
    if [[ -n "${PYTHON:-}" ]]; then
        probe "$PYTHON" || die "PYTHON=$PYTHON is no working Python 3.11 or newer with venv and pip"
        return
    fi
    for minor in "${MINORS[@]}"; do
        find_minor "$minor" && return
    done
    for command in python3 python; do
        probe "$command" && return
    done
    die "no Python 3.11 or newer with venv and pip found; install one or set PYTHON to its path"
}

# --- environments ---------------------------------------------------------------------------
#
# An environment is a folder that holds, beside what venv and pip put there:
#
#   .made          which Python made it, and where; written last, when pip is in place
#   .busy          an installation is going on, or one was interrupted
#   .has-GROUP     the dependency list from which GROUP was last installed
#
# GROUP is "package" for the project itself, "extra-NAME" for it with an extra, or a name from
# [dependency-groups]. Whatever does not add up (no .made, another Python, a folder that moved, a
# left .busy) is made anew.

# env_sound FOLDER [PYTHON-IDENTITY]: whether the environment works and is complete in itself.
env_sound() {
    local now
    [[ -f "$1/.made" && ! -e "$1/.busy" ]] || return 1
    now="$(identity "$1/bin/python")" || return 1
    [[ "$(<"$1/.made")" == "$now in $1" ]] || return 1
    [[ -z "${2:-}" || "$2" == "$now" ]]
}

# The dependency list: any change in these files makes the next run install again.
env_wanted() {
    printf '%s\n' "$(<"$ROOT/pyproject.toml")" "$(<"$CONSTRAINTS")" \
        "$(<"$ROOT/dagstack_dev/_version.py")"
}

env_has() { # FOLDER GROUP WANTED
    [[ -f "$1/.has-$2" && "$(<"$1/.has-$2")" == "$3" ]]
}

env_has_all() { # FOLDER WANTED GROUP...
    local folder="$1" wanted="$2" group
    shift 2
    for group in "$@"; do
        env_has "$folder" "$group" "$wanted" || return 1
    done
}

# env_lock FOLDER PYTHON: wait until no other run is changing FOLDER, then hold it. The lock
# belongs to the open file, not to the process that takes it: it ends when the last process that
# inherited the file has ended, so an orphaned installation still keeps others out.
env_lock() {
    exec 9>"$1.lock"
    "$2" -I -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("waiting for another run that prepares", sys.argv[1], file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError as error:
    print("warning: going on without a lock:", error, file=sys.stderr)
' "${1##*/}"
}

env_pip() { # FOLDER ARGUMENT...
    local folder="$1"
    shift
    # Quiet twice: errors only. PIP_USER=0: undoes a personal setting with which pip refuses to
    # install into an environment.
    PIP_USER=0 "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check \
        --no-input --constraint "$CONSTRAINTS" "$@" </dev/null
}

env_create() { # FOLDER PYTHON
    local made
    say "making ${1##*/} with $("$2" -I -V)"
    rm -rf -- "$1"
    "$2" -I -m venv "$1" || die "could not make $1"
    env_pip "$1" --upgrade pip || die "could not install pip in $1"
    made="$(identity "$1/bin/python")" || die "the Python in $1 does not run"
    printf '%s in %s\n' "$made" "$1" >"$1/.made"
}

env_install() { # FOLDER WANTED GROUP...
    local folder="$1" wanted="$2" group missing=() arguments=()
    shift 2
    for group in "$@"; do
        env_has "$folder" "$group" "$wanted" && continue
        missing+=("$group")
        rm -f -- "$folder/.has-$group"
        case "$group" in
            package) arguments+=(--build-constraint "$CONSTRAINTS" --editable "$ROOT") ;;
            extra-*)
                arguments+=(--build-constraint "$CONSTRAINTS" --editable "$ROOT[${group#extra-}]")
                ;;
            *) arguments+=(--group "$ROOT/pyproject.toml:$group") ;;
        esac
    done
    say "installing into ${folder##*/}: ${missing[*]}"
    : >"$folder/.busy"
    env_pip "$folder" "${arguments[@]}" || die "the installation failed; the next run starts over"
    for group in "${missing[@]}"; do
        printf '%s\n' "$wanted" >"$folder/.has-$group"
    done
    rm -f -- "$folder/.busy"
}

# env_ready FOLDER PYTHON GROUP...: FOLDER is a sound environment with every GROUP installed.
# PYTHON may be empty: then an environment that is sound is good enough, by whatever Python it was made.
env_ready() {
    local folder="$1" python="$2" wanted maker=""
    shift 2
    [[ "$folder" == /* ]] || die "not an absolute path: $folder"
    wanted="$(env_wanted)"
    if [[ -n "$python" ]]; then
        maker="$(identity "$python")" || die "$python does not run"
    fi
    # The usual case: nothing to do, and no lock to wait for.
    if env_sound "$folder" "$maker" && env_has_all "$folder" "$wanted" "$@"; then return; fi

    python="${python:-$(find_python)}"
    [[ -n "$python" ]] || exit 1
    env_lock "$folder" "$python"
    # Another run may have done it meanwhile.
    env_sound "$folder" "$maker" || env_create "$folder" "$python"
    env_has_all "$folder" "$wanted" "$@" || env_install "$folder" "$wanted" "$@"
    exec 9>&-
}

# main_env GROUP...: the environment that most scripts use; sets VENV.
main_env() {
    local python=""
    if [[ -n "${PYTHON:-}" ]]; then python="$(find_python)"; fi
    VENV="$ROOT/.venv"
    env_ready "$VENV" "$python" "$@"
}

# --- Node packages --------------------------------------------------------------------------
#
# The JavaScript plugins of the playground need some, and so does the client in JavaScript that tests
# talk with. They are installed beside the package.json that names them, in exactly those versions;
# node_modules/.made-from holds the text of the package.json that was last installed, and is written
# last.

MIXED="$ROOT/playground/mixed"
CLIENT="$ROOT/tests/support/javascript"

# node_lack: why nothing in JavaScript can run on this machine; nothing if it can.
node_lack() {
    if ! command -v node >/dev/null; then
        printf 'no Node found\n'
    elif ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then
        printf 'Node 20 or newer is needed, not %s\n' "$(node --version 2>/dev/null)"
    elif ! command -v npm >/dev/null; then
        printf 'no npm found\n'
    fi
}

node_has() { # FOLDER WANTED
    [[ -f "$1/node_modules/.made-from" && "$(<"$1/node_modules/.made-from")" == "$2" ]]
}

# node_ready FOLDER...: what the package.json in each of them names is installed; fails, and says so,
# where that cannot be done. Needs VENV.
node_ready() {
    local folder wanted
    for folder in "$@"; do
        wanted="$(<"$folder/package.json")"
        if node_has "$folder" "$wanted"; then continue; fi
        env_lock "$folder/node_modules" "$VENV/bin/python"
        node_has "$folder" "$wanted" || node_install "$folder" "$wanted" || {
            exec 9>&-
            say "the Node packages could not be installed; the next run tries again"
            return 1
        }
        exec 9>&-
    done
}

node_install() { # FOLDER WANTED
    say "installing Node packages into ${1#"$ROOT/"}"
    rm -rf -- "$1/node_modules"
    # No lock file: it would name the registry that it was made with.
    (cd -- "$1" && npm install --no-package-lock --ignore-scripts --no-audit --no-fund \
        --no-update-notifier --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000 \
        </dev/null >/dev/null) || return 1
    printf '%s\n' "$2" >"$1/node_modules/.made-from"
}

# --- The examples of dagstack-plugin-system -------------------------------------------------
#
# Its wheel has none; they are in the source distribution, which tests run unchanged.

ORIGINAL="$ROOT/.cache/dagstack-plugin-system"

# original_ready: its sources are there; fails, and says so, where they cannot be had. Needs VENV.
original_ready() {
    local pin download
    pin="$(grep '^dagstack-plugin-system==' "$CONSTRAINTS")"
    if [[ -f "$ORIGINAL/.made-from" && "$(<"$ORIGINAL/.made-from")" == "$pin" ]]; then return; fi
    say "fetching the sources of ${pin/==/ }"
    rm -rf -- "$ORIGINAL"
    mkdir -p -- "$ORIGINAL"
    download="$ORIGINAL/download"
    if PIP_BUILD_CONSTRAINT="$CONSTRAINTS" "$VENV/bin/python" -m pip download --quiet --quiet \
        --disable-pip-version-check --no-input --no-deps --no-binary :all: --dest "$download" \
        "$pin" </dev/null &&
        tar -xzf "$download"/*.tar.gz -C "$ORIGINAL" --strip-components 1; then
        rm -rf -- "$download"
        printf '%s\n' "$pin" >"$ORIGINAL/.made-from"
        return
    fi
    say "the sources could not be fetched; the next run tries again"
    return 1
}

# --- The browser ------------------------------------------------------------------------------

# browser_lack: why the dev page cannot be tested in a browser on this machine; nothing if it can.
browser_lack() {
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    printf 'no Chromium found\n'
}
