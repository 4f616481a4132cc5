#!/bin/sh
# Makes an authority and what it signs, beside this file: for the control plane, for somebody
# who operates it, and for three nodes. For trying things out: the authority's key lies there,
# too, and nothing is renewed.
set -eu
cd "$(dirname "$0")"
umask 077

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=three hosts" -keyout ca.key -out ca.crt
}

# NAME, what it may do, its alternative names.
certify() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 \
        -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}

[ -e ca.key ] || authority
# 10.0.2.2 is this machine, as guests of QEMU see it. etcd also calls itself.
certify server serverAuth,clientAuth IP:10.0.2.2,IP:127.0.0.1
certify operator clientAuth DNS:operator
for node in host-1 host-2 host-3; do
    certify "$node" clientAuth "DNS:$node"
done
