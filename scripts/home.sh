# Sourced by the scripts beside it: where they are (here), ROCKETMQ_HOME, and binary NAME.
# shellcheck shell=sh

here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")
export ROCKETMQ_HOME="${ROCKETMQ_HOME:-$top}"

# Prints the path of a program: installed in bin or libexec beside this folder, or built in this
# checkout.
binary() {
  for folder in "$top/bin" "$top/libexec" "$top/target/release" "$top/target/debug"; do
    # In an installation the scripts are in bin themselves, under the same names.
    if [ -x "$folder/$1" ] && [ "$folder" != "$here" ]; then
      echo "$folder/$1"
      return
    fi
  done
  echo "ERROR: no program $1 in bin, libexec, target/release or target/debug of $top:" \
    "build it with cargo build --release" >&2
  return 1
}
