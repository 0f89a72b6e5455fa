#!/bin/sh
# run.sh build LANGUAGE: compiles the language's program in /programs, where it is compiled.
# run.sh run LANGUAGE: runs it; it prints a line for each of its parts, which are the same on every machine.
#
# In the root of a Debian whose packages are unpacked but not set up: programs are called by their full names.
set -e
cd /programs
export HOME=/programs LC_ALL=C.UTF-8
java=$(echo /usr/lib/jvm/java-[0-9][0-9]-openjdk-*/bin)
php=$(ls /usr/bin/php[0-9]*.[0-9])
case "$1 $2" in
'build go') GO111MODULE=off go build -o go-work work.go ;;
'build java') "$java/javac" -d . Work.java ;;
'build rust') rustc -C linker=gcc --edition 2021 -C opt-level=0 -o rust-work work.rs ;;
'run go') ./go-work ;;
'run java') "$java/java" -Xmx256m -cp . Work ;;
'run rust') ./rust-work ;;
'run node') node work.js ;;
'run python') python3 work.py ;;
'run ruby') ruby work.rb ;;
'run php') "$php" -d zend_extension=opcache -d opcache.enable_cli=1 -d opcache.jit_buffer_size=32M -d opcache.jit=tracing work.php ;;
'run ldconfig')
    /sbin/ldconfig -C ld.so.cache
    /sbin/ldconfig -C ld.so.cache -p | head -n 1 | grep -o 'libs found'
    ;;
'run apt')
    # A repository in a folder, which apt fetches from and verifies by its own processes.
    if [ ! -e repository/Packages ]; then
        mkdir -p repository lists/partial cache/archives/partial
        printf 'Package: nothing\nVersion: 1\nArchitecture: arm64\nMaintainer: nobody\nDescription: nothing\nFilename: ./nothing.deb\nSize: 1\nSHA256: %064d\n' 0 >repository/Packages
        echo "deb [trusted=yes] copy:/programs/repository ./" >sources.list
        : >status
    fi
    rm -rf lists/*_* cache/*.bin
    set -- -c /dev/null -o APT::Sandbox::User=root -o Dir::Etc::sourcelist=/programs/sources.list -o Dir::Etc::sourceparts=/none \
        -o Dir::State::lists=/programs/lists -o Dir::State::status=/programs/status -o Dir::Cache=/programs/cache -o Acquire::Languages=none
    apt-get -qq "$@" update
    apt-cache "$@" policy nothing | grep -v copy:
    ;;
*) exit 2 ;;
esac
