# shellcheck shell=bash
# lib.sh - what the scripts here share: where things are, and the processes
# that `up` started.

fail() { echo "${0##*/}: $*" >&2; exit 1; }

# Programs, images, keys, logs and the running cluster's state.
RUN=${PF_CLUSTER_DIR:-$HOME/.cache/pf-cluster}
[[ $RUN == /* && $RUN != *[[:space:]]* ]] || fail "PF_CLUSTER_DIR has to be an absolute path without blanks"

K8S=${K8S:-1.37}
API_PORT=${API_PORT:-6443}
ETCD_PORT=${ETCD_PORT:-12379}
BRIDGE=${BRIDGE:-k8slab0}
NODE_IP=${NODE_IP:-10.244.0.1} # the bridge's; pods get the rest of its /24
CGROUP=${CGROUP:-k8slab}       # pods' cgroups are /kubepods under this
# shellcheck disable=SC2034 # pki and up use it
API=https://127.0.0.1:$API_PORT

# $RUN/pid/NAME holds a process's pid and the time it was started, in the clock
# ticks of /proc/PID/stat; the two together name one process for good, whereas a
# pid alone may come to mean another.

start_time() { # start_time PID : false if it has ended, even if not yet reaped
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086
  set -- ${stat##*) } # what follows the command's name: state, parent's pid...
  [[ $1 != [ZX] ]] && echo "${20}"
}

note() { # note NAME PID
  echo "$2 $(start_time "$2")" >"$RUN/pid/$1"
}

pid() { # pid NAME : its pid, if it still runs
  local pid start
  read -r pid start <"$RUN/pid/$1" && [[ $(start_time "$pid") == "$start" ]] && echo "$pid"
} 2>/dev/null

# pods_ready KUBECTL... : is everything of manifests/ as it is meant to be?
pods_ready() {
  "$@" rollout status deployment/web --timeout=1s &&
    "$@" wait --timeout=1s --for=condition=Ready pod/bare &&
    "$@" wait --timeout=1s --for=jsonpath='{.status.readyReplicas}'=1 \
      statefulset/stateful replicaset/rs replicationcontroller/rc &&
    "$@" wait --timeout=1s --for=jsonpath='{.status.numberReady}'=1 daemonset/daemon &&
    "$@" wait --timeout=1s --for=jsonpath='{.status.ready}'=1 job/job &&
    "$@" wait --timeout=1s --for=jsonpath='{.status.phase}'=Succeeded pod/done
}
