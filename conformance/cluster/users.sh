# shellcheck shell=bash
# users.sh - the users of a test cluster and their kubeconfigs; for `pki` here and
# ../kind/users. Wants the variables KUBE (the folder to write to), API (the API
# server's address) and CA (its CA certificate, a file).

# What each user may do is in manifests/rbac.yaml; admin may do anything.
# shellcheck disable=SC2034
USERS=(admin forwarder create-only get-only viewer nobody)

# kubeconfig NAME "user: fields" : $KUBE/NAME.yaml with everything inline
kubeconfig() {
  cat >"$KUBE/$1.yaml" <<YAML
apiVersion: v1
kind: Config
current-context: lab
contexts:
- name: lab
  context: {cluster: lab, user: $1}
clusters:
- name: lab
  cluster:
    server: $API
    certificate-authority-data: $(base64 -w0 "$CA")
users:
- name: $1
  user:
    $2
YAML
}

# kubeconfig_cert NAME CERT KEY
kubeconfig_cert() {
  kubeconfig "$1" "client-certificate-data: $(base64 -w0 "$2")
    client-key-data: $(base64 -w0 "$3")"
}

# kubeconfig_token USER TOKEN : USER-token with the token inline
kubeconfig_token() {
  kubeconfig "$1-token" "token: $2"
}

# kubeconfig_indirect USER TOKEN FOLDER : USER-tokenfile, with the token in a
# file, and USER-exec, with a program that prints it; both are put into FOLDER
kubeconfig_indirect() {
  echo "$2" >"$3/$1.token"
  kubeconfig "$1-tokenfile" "tokenFile: $3/$1.token"

  cat >"$3/$1-exec" <<SH
#!/bin/sh
# Credential plugin: prints what $1.token holds at the time.
printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\n' \\
  "\$(cat '$3/$1.token')"
SH
  chmod +x "$3/$1-exec"
  kubeconfig "$1-exec" "exec:
      apiVersion: client.authentication.k8s.io/v1
      command: $3/$1-exec
      interactiveMode: Never"
}
