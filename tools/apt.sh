# Sourced by scripts that take packages from the distribution's archive without touching the host's package database.
#
# apt_private DIR ARCH [SUITE_SUFFIX...] makes DIR an apt state of its own: the host's mirrors and keyrings, and nothing
# else of the host's sources; signatures are verified as apt always does. A suffix (-backports) adds that suite of the
# host's release. Afterwards `apt_get ...` and `apt_cache ...` work in that state. ARCH need not be the host's.

apt_release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

# The Signed-By field, continuation lines and all, of the host's entry that names URI $2 in file $1.
apt_signed_by() {
    case $1 in
    *.sources)
        awk -v uri="${2%/}" '
            function flush() { if (hit && key != "") { printf "%s", key; done = 1 } hit = 0; key = ""; in_key = 0 }
            done { next }
            /^[ \t]*$/ { flush(); next }
            /^#/ { next }
            /^URIs:/ { n = split($0, w); for (i = 2; i <= n; i++) { sub(/\/$/, "", w[i]); if (w[i] == uri) hit = 1 } }
            /^[A-Za-z-]+:/ { in_key = 0 }
            /^Signed-By:/ { in_key = 1 }
            in_key { key = key $0 "\n" }
            END { if (!done) flush() }' "$1"
        ;;
    *)
        sed -n "s|^deb .*signed-by=\([^] ]*\).* ${2%/}/* .*|Signed-By: \1|p" "$1" | head -n 1
        ;;
    esac
}

# The host's archive entries as deb822 stanzas.
apt_sources() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(SOURCESENTRY)' 'Created-By: Packages' |
        sort -u | while read -r uri suite component entry; do
        [ "$component" = main ] || continue
        case $suite in
        "$apt_release" | "$apt_release"-updates | "$apt_release"-security | stable | stable-updates | stable-security | testing | unstable | sid) ;;
        *) continue ;;
        esac
        key=$(apt_signed_by "${entry%:*}" "$uri")
        for s in "$suite" "${@/#/$suite}"; do
            # Suffixed suites stand beside the release itself, not beside its updates.
            [ "$s" = "$suite" ] || [ "$suite" = "$apt_release" ] || continue
            printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n%s\n\n' "$uri" "$s" "$key"
        done
    done
}

apt_private() {
    apt_dir=$1
    local arch=$2
    shift 2
    mkdir -p "$apt_dir"
    exec {apt_lock}>"$apt_dir.lock"
    flock "$apt_lock"
    mkdir -p "$apt_dir"/{lists/partial,cache/archives/partial,empty}
    [ -e "$apt_dir/status" ] || : >"$apt_dir/status"
    apt_sources "$@" | cat -s >"$apt_dir/host.sources"
    [ -s "$apt_dir/host.sources" ] || {
        echo "this host's apt sources name no Debian archive (release '$apt_release')" >&2
        return 1
    }
    cat >"$apt_dir/apt.conf" <<EOF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$apt_dir";
Dir::State::lists "$apt_dir/lists";
Dir::State::status "$apt_dir/status";
Dir::Cache "$apt_dir/cache";
Dir::Cache::archives "$apt_dir/cache/archives";
Dir::Etc::sourcelist "$apt_dir/host.sources";
Dir::Etc::sourceparts "$apt_dir/empty";
Dir::Etc::preferences "$apt_dir/none";
Dir::Etc::preferencesparts "$apt_dir/empty";
EOF
}

apt_get() {
    apt-get -qq -c "$apt_dir/apt.conf" "$@"
}

apt_cache() {
    apt-cache -c "$apt_dir/apt.conf" "$@"
}

# apt_extract TAR PACKAGES: a tree of Debian arm64 of the host's release with the packages (comma-separated) and what
# they depend on, unpacked; none of their scripts is run, so that neither root, nor binfmt_misc, nor an emulator is
# needed. TAR is written at the very end. Next to it come the log and the sources.
apt_extract() {
    local tar=$1 packages=$2 dir mode=unshare
    dir=$(dirname "$tar")
    echo "fetching Debian $apt_release arm64 with $packages"
    ! [ "$(id -u)" = 0 ] || mode=root
    apt_sources >"$dir/host.sources"
    mmdebstrap --quiet --mode=$mode --architectures=arm64 --variant=extract --skip=check/qemu,output/dev \
        --include="$packages" --format=tar "$apt_release" "$tar.new" "$dir/host.sources" </dev/null >"$dir/log" 2>&1 || {
        cat "$dir/log" >&2
        return 1
    }
    mv "$tar.new" "$tar"
}
