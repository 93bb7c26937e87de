#!/bin/sh
# setup.sh SET...     see that the packages of these sets are there; install
#                     those that are missing, or print the command that does.
#                     packages.txt lists the packages and the sets.
# setup.sh --python   print the Python interpreter that the kit uses
#
# Exit status: 0 all is there, 2 something is missing.
set -u

cd "$(dirname "$0")/.." || exit 2
list=conformance/packages.txt
log=build/setup.log
system_python=/usr/bin/python3
compiler=${CC:-cc}
# The folders for system programs are not in every user's PATH.
search=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say()
{
    echo "sockstep: $*" >&2
}

# has_header NAME: does the C compiler find it?
has_header()
{
    test -e "/usr/include/$1" && return
    # $compiler is not quoted: CC may hold options too.
    printf '#if !__has_include(<%s>)\n#error\n#endif\n' "$1" |
        $compiler -E -x c - >/dev/null 2>&1
}

# python_lacks PYTHON PROOF=PACKAGE...: print the packages whose proof fails.
# Settings and packages of the user do not count, nor do they in the Makefile.
python_lacks()
{
    env -u PYTHONHOME -u PYTHONPATH -u PYTHONSTARTUP -u PYTHONINSPECT \
        -u VIRTUAL_ENV -u __PYVENV_LAUNCHER__ PYTHONNOUSERSITE=1 \
        "$1" -B -c '
import importlib.util, sys
for pair in sys.argv[2:]:
    proof, package = pair.split("=")
    kind, name = proof.split(":")
    if kind == "python":
        good = sys.version_info >= tuple(map(int, name.split(".")))
    else:
        good = importlib.util.find_spec(name) is not None
    if not good:
        print(package)
' "$@" </dev/null 2>/dev/null && return
    # There is no such interpreter, or it does not work.
    shift
    for pair in "$@"; do
        echo "${pair#*=}"
    done
}

# missing PYTHON SET...: print, a line each, the packages of these sets that
# are not there.
missing()
{
    python=$1
    shift
    pairs=
    while read -r set package proof _; do
        case " $* " in
        *" $set "*) ;;
        *) continue ;;
        esac
        case $proof in
        compiler) command -v "${compiler%% *}" ;;
        command:*) PATH=$search command -v "${proof#*:}" ;;
        header:*) has_header "${proof#*:}" ;;
        python:* | module:*) pairs="$pairs $proof=$package" ;;
        *)
            say "$list: $package: unknown proof: $proof"
            false
            ;;
        esac >/dev/null || echo "$package"
    done <"$list"
    # shellcheck disable=SC2086 # one word for each pair
    test -z "$pairs" || python_lacks "$python" $pairs
}

# is_usable PYTHON: has it all that `make check` needs?
is_usable()
{
    test -x "$1" && test -z "$(missing "$1" check | grep '^python')"
}

# Print the system's own interpreter if it is usable; else the first in PATH
# that is; else the system's own again, for want of a better one.
find_python()
{
    is_usable "$system_python" && echo "$system_python" && return
    IFS=:
    for folder in $PATH; do
        unset IFS
        for python in "$folder/python3" "$folder"/python3.[0-9]*; do
            case $python in
            *-config) continue ;;
            esac
            is_usable "$python" && echo "$python" && return
        done
    done
    unset IFS
    echo "$system_python"
}

# Set as_root to what makes a command run as root; fail if nothing does.
may_install()
{
    command -v apt-get >/dev/null || return
    as_root=
    test "$(id -u)" -eq 0 && return
    as_root='sudo -n'
    sudo -n true 2>/dev/null
}

apt()
{
    # shellcheck disable=SC2086 # as_root is two words or none
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y \
        -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$log" 2>&1
}

# install PACKAGE...: the lists of packages are fetched where there are none
# yet, and where they are too old to install from.
install_packages()
{
    mkdir -p build && : >"$log" || return
    set -- install --no-install-recommends "$@"
    if ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        apt "$@" && return
    fi
    apt update && apt "$@"
}

# Print the command that the user is to run.
advise()
{
    command="apt-get update && apt-get install -y --no-install-recommends $*"
    if ! command -v apt-get >/dev/null; then
        say "there is no apt-get here; install what provides them on your" \
            "system (the names are Debian's, $list says what for)"
    elif test "$(id -u)" -eq 0; then
        say "install them with: $command"
    elif command -v sudo >/dev/null; then
        say "install them with: sudo sh -c '$command'"
    else
        say "install them with: su -c '$command'"
    fi
}

if test "$*" = --python; then
    find_python
    exit
fi

if ! command -v "${compiler%% *}" >/dev/null &&
    test "$compiler" != cc && test "$compiler" != gcc; then
    say "CC=$compiler: there is no such command"
    exit 2
fi

for set in "${@:-none}"; do
    grep -q "^$set " "$list" || {
        say "usage: setup.sh --python | SET..., sets as in $list, not: $set"
        exit 2
    }
done

names=$(missing "$system_python" "$@" | paste -s -d ' ' -)
test -z "$names" && exit

if may_install; then
    say "missing packages: $names (apt-get installs them, see $log)"
    # shellcheck disable=SC2086 # one word for each package
    install_packages $names || {
        tail -n 5 "$log" >&2
        say 'apt-get could not install them'
    }
fi

names=$(missing "$(find_python)" "$@" | paste -s -d ' ' -)
test -z "$names" && exit
say "missing packages: $names"
advise "$names"
exit 2
