# A Nomad client on this host. What cluster.agent.args names with -config comes after this
# and wins.
data_dir = "/var/lib/nomad"

client {
  enabled = true
}

tls {
  http                   = true
  rpc                    = true
  ca_file                = "/etc/cluster/ca.crt"
  cert_file              = "/etc/cluster/node.crt"
  key_file               = "/etc/cluster/node.key"
  verify_server_hostname = true
}
