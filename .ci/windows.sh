#!/usr/bin/env bash
# Sourced: what it takes to build, lint and run the Windows port on Debian. Installs
# what is missing, which takes a minute the first time and no time afterwards.
#
# A toolchain from rustup would need a second download of std; Debian's carries std's
# source, from which `-Zbuild-std` makes it for any target.

export WINEDEBUG=-all WINEPREFIX="${WINEPREFIX:-$HOME/.wine-procpool}"

windows_setup() {
  local shim=$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll
  local tools=(/usr/bin/cargo /usr/bin/cargo-clippy x86_64-w64-mingw32-gcc-posix wine)
  local tool
  for tool in "${tools[@]}"; do
    if ! command -v "$tool" >/dev/null; then
      export DEBIAN_FRONTEND=noninteractive
      apt-get update -q
      apt-get install -y -q --no-install-recommends rustc-web cargo-web rust-web-src \
        rust-web-clippy gcc-mingw-w64-x86-64-posix wine wine64
      break
    fi
  done
  if [ ! -e "$shim" ]; then
    wineboot -i >/dev/null 2>&1 </dev/null || true
    # By itself it claims to be Windows 7.
    wine winecfg -v win10 >/dev/null 2>&1 </dev/null
    x86_64-w64-mingw32-gcc-posix -O2 -shared -o "$shim" \
      "$(dirname "${BASH_SOURCE[0]}")/bcryptprimitives.c" -ladvapi32
    wineserver -w || true
  fi
  # Kept running: started by a test it would count as that test's leak. It must not
  # keep a pipe of ours open.
  wineserver -p >/dev/null 2>&1 </dev/null || true
}

# Runs one of Debian's cargo commands: windows_cargo /usr/bin/cargo test …
windows_cargo() {
  RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTDOC=/usr/bin/rustdoc \
    CARGO_UNSTABLE_BUILD_STD=std,panic_unwind \
    CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc-posix \
    CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine \
    CC_x86_64_pc_windows_gnu=x86_64-w64-mingw32-gcc-posix \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/cross" \
    "$@"
}
