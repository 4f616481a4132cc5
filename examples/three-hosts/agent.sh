#!/bin/sh
# The least that makes a host a node: it keeps one pod running, and says in etcd that the node
# is there. Of the host it uses what docs/joining.md promises, and curl.
set -u

base64_of() {
    printf %s "$1" | base64 --wrap=0
}

# A key and its value, through etcd's JSON gateway.
put() {
    curl --silent --show-error --fail --max-time 20 --output /dev/null \
        --cacert "$CLUSTER_CA" --cert "$CLUSTER_CERTIFICATE" --key "$CLUSTER_KEY" \
        --data "{\"key\": \"$(base64_of "$1")\", \"value\": \"$(base64_of "$2")\"}" \
        "$CLUSTER_ENDPOINT/v3/kv/put"
}

pod="$CLUSTER_STATE/pod"
is_registered=

runs() {
    [ -s "$pod" ] && "$CLUSTER_ROCKET" status --json --uuid-file="$pod" |
        grep -q '"state": *"running"'
}

while :; do
    if ! runs; then
        rm -f "$pod"
        "$CLUSTER_ROCKET" run --detach --restart=always --port=8080:80 \
            --uuid-file-save="$pod" "$1" && echo "started a pod of $1"
    fi
    if runs && put "/nodes/$CLUSTER_NAME" "$CLUSTER_LABELS"; then
        [ "$is_registered" ] || echo "$CLUSTER_NAME is registered"
        is_registered=1
    else
        is_registered=
    fi
    sleep 10
done
