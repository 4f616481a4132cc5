#!/bin/sh
# The agent of a cluster. It uses what docs/joining.md promises, and nothing else: registers
# its node with the control plane, and keeps one pod running. The argument is its image.
set -u
export ETCDCTL_API=3

ctl() {
    etcdctl --endpoints="$CLUSTER_ENDPOINT" --cacert="$CLUSTER_CA" \
        --cert="$CLUSTER_CERTIFICATE" --key="$CLUSTER_KEY" \
        --dial-timeout=20s --command-timeout=40s "$@"
}

pod="$CLUSTER_STATE/pod"

runs() {
    [ -s "$pod" ] && "$CLUSTER_ROCKET" status --json --uuid-file="$pod" |
        grep -q '"state": *"running"'
}

is_registered=

while :; do
    if ! runs; then
        rm -f "$pod"
        "$CLUSTER_ROCKET" run --detach --restart=always --port=8080:8080 \
            --set-env=NODE="$CLUSTER_NAME" --uuid-file-save="$pod" "$1" &&
            echo "agent: started the pod"
    fi
    if [ -z "$is_registered" ] && runs && ctl put "/nodes/$CLUSTER_NAME" "$CLUSTER_LABELS"; then
        echo "agent: $CLUSTER_NAME is registered"
        is_registered=1
    fi
    sleep 15
done
